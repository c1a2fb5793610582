"""VQA accuracy of many answers at once, as three public scorers count it. They differ in what they normalise:

- official2021: GT-Vision-Lab/VQA@a013f00. Texts are cleaned; if a question's answers are not all equal then, they and
  the prediction have punctuation, number words and articles normalised.
- official2017: the same repository before 2021, LAVIS and the code of FRAMES-VQA. Predictions are normalised in full;
  answers, if they are not all equal, lose their punctuation alone, so that "two" or "the dog" can never be hit.
- m4c: MMF's TextVQAAccuracyEvaluator. Everything is normalised, ten answers are wanted.

All leave one answer out: mean over the answers of min(1, matches among the others / 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from digrap.core.errors import DigrapError, nearest
from digrap.metrics.vqa.text import clean, normalise, normalise_m4c, punctuation

M4C_ANSWERS = 10
Keys = Sequence[Sequence[int] | None]


def accuracies(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    scorer: str = "official2021",
    keys: Keys | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the accuracy of each prediction, float64 (n,) in 0..1: the official code's float, bit for bit.

    `answers[i]` are the human answers of question i. `keys[i][j]` is a number for whatever beside its text tells answer
    j from the others of question i (an answer_id, say): the scorers leave out an answer together with all that equal it
    in text and key. None: all are told apart. m4c always tells them apart. `names[i]` is the name of question i in
    errors. Raises DigrapError for an unknown scorer, lengths that do not fit, a question without answers and a value
    that is not a str.
    """
    check_scorer(scorer)
    name = _Names(names)
    sizes = _sizes(predictions, answers, name)
    if not len(sizes):
        return np.zeros(0)
    if scorer == "m4c":
        _want_ten(sizes, name)
        keys = None
    texts = _Texts()
    flat = list(chain.from_iterable(answers))
    given, predicted = texts.codes(flat, "an answer"), texts.codes(list(predictions), "a prediction")
    question = np.repeat(np.arange(len(sizes)), sizes)
    first = np.cumsum(sizes) - sizes
    given, predicted = _SCORERS[scorer](texts, given, predicted, question, first)
    match = given == predicted[question]
    others = _matches_among_others(match, question, sizes, first, keys, name)
    return _mean_of_scores(others, sizes, first)


def check_scorer(scorer: str) -> None:
    """Raise DigrapError for a name that is not in SCORERS."""
    if scorer not in SCORERS:
        raise DigrapError(f"scorer={scorer}: there is no such scorer; {nearest(str(scorer), SCORERS)}")


class _Names:
    """Names of questions in errors: the name given, or the place."""

    def __init__(self, names: Sequence[str] | None):
        self.names = names

    def __getitem__(self, place: int) -> str:
        return f"question {self.names[place]}" if self.names is not None else f"question number {place} (from 0)"


class _Texts:
    """Numbers for distinct strings, so that each is normalised once and NumPy compares them."""

    def __init__(self) -> None:
        self.code_of: dict[str, int] = {}

    def codes(self, texts: list[str], what: str) -> np.ndarray:
        """Return the number (n,) of each text; a new text gets a new number."""
        code_of = self.code_of
        try:
            distinct = dict.fromkeys(texts)
        except TypeError:  # something that cannot be a key: a list, a dict
            distinct = texts
        for text in distinct:
            if not isinstance(text, str):
                raise DigrapError(f"{what} is {text!r}, not a string: give strings")
            code_of.setdefault(text, len(code_of))
        return np.fromiter(map(code_of.__getitem__, texts), np.int64, len(texts))

    def apply(self, function: Callable[[str], str], codes: np.ndarray) -> np.ndarray:
        """Return the numbers of the texts that `function` makes of the texts numbered `codes`."""
        used = np.flatnonzero(np.bincount(codes, minlength=len(self.code_of)))
        known = list(self.code_of)
        step = np.empty(len(known), dtype=np.int64)
        code_of = self.code_of
        step[used] = [code_of.setdefault(function(known[code]), len(code_of)) for code in used.tolist()]
        return step[codes]


def _official2021(texts: _Texts, given, predicted, question, first) -> tuple[np.ndarray, np.ndarray]:
    given, predicted = texts.apply(clean, given), texts.apply(clean, predicted)
    mixed = _mixed(given, question, first)
    here = mixed[question]
    given[here] = texts.apply(normalise, given[here])
    predicted[mixed] = texts.apply(normalise, predicted[mixed])
    return given, predicted


def _official2017(texts: _Texts, given, predicted, question, first) -> tuple[np.ndarray, np.ndarray]:
    here = _mixed(given, question, first)[question]
    given[here] = texts.apply(punctuation, given[here])
    return given, texts.apply(normalise, predicted)


def _m4c(texts: _Texts, given, predicted, question, first) -> tuple[np.ndarray, np.ndarray]:
    return texts.apply(normalise_m4c, given), texts.apply(normalise_m4c, predicted)


_SCORERS = {"official2021": _official2021, "official2017": _official2017, "m4c": _m4c}
SCORERS = tuple(_SCORERS)


def _mixed(given: np.ndarray, question: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return whether the answers of each question (n,) are not all equal."""
    return np.logical_or.reduceat(given != given[first][question], first)


def _matches_among_others(match, question, sizes, first, keys: Keys | None, name: _Names) -> np.ndarray:
    """Return, for each answer, how many answers match the prediction among those that are not left out with it."""
    matches = np.bincount(question[match], minlength=len(sizes))
    left_out = match.astype(np.int64)
    if keys is not None:
        # Answers that match have one text; those with one key as well drop together.
        places = np.flatnonzero(match)
        distinct, key = np.unique(_flat_keys(keys, sizes, first, name)[places], return_inverse=True)
        _, group, count = np.unique(question[places] * len(distinct) + key, return_inverse=True, return_counts=True)
        left_out[places] = count[group]
    return matches[question] - left_out


def _flat_keys(keys: Keys, sizes: np.ndarray, first: np.ndarray, name: _Names) -> np.ndarray:
    """Return the keys of all answers in a row; a question without keys gets the places of its answers."""
    if len(keys) != len(sizes):
        raise DigrapError(f"keys has {len(keys)} entries for {len(sizes)} questions: give one, or None, per question")
    flat = np.arange(sizes.sum()) - np.repeat(first, sizes)
    for place, key in enumerate(keys):
        if key is not None:
            if len(key) != sizes[place]:
                raise DigrapError(f"{name[place]} has {sizes[place]} answers and {len(key)} keys: give one per answer")
            flat[first[place] : first[place] + len(key)] = key
    return flat


def _mean_of_scores(others: np.ndarray, sizes: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the mean of min(1, others / 3) by question, added in the answers' order: the float of a plain loop."""
    scores, total = np.minimum(1.0, others / 3.0), np.zeros(len(sizes))
    for place in range(sizes.max()):
        longer = sizes > place
        total[longer] += scores[first[longer] + place]
    return total / sizes


def _sizes(predictions: Sequence[str], answers: Sequence[Sequence[str]], name: _Names) -> np.ndarray:
    if len(predictions) != len(answers):
        raise DigrapError(f"{len(predictions)} predictions for the answers of {len(answers)} questions: give one each")
    for place, group in enumerate(answers):
        if isinstance(group, str):
            raise DigrapError(f"{name[place]} has the string {group!r} as its answers: give a list of strings")
    sizes = np.fromiter(map(len, answers), np.int64, len(answers))
    if len(empty := np.flatnonzero(sizes == 0)):
        raise DigrapError(f"{name[empty[0]]} has no answers ({len(empty)} such): there is nothing to score against")
    return sizes


def _want_ten(sizes: np.ndarray, name: _Names) -> None:
    if len(wrong := np.flatnonzero(sizes != M4C_ANSWERS)):
        raise DigrapError(
            f"{name[wrong[0]]} has {sizes[wrong[0]]} answers ({len(wrong)} such): scorer=m4c needs ten; official2021 "
            "takes any number"
        )
