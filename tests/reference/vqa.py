"""The VQA scorers and the naming metrics as slow loops over one question, written from their descriptions."""

from __future__ import annotations

import math
import re

from digrap.metrics.vqa.contractions import CONTRACTIONS

MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def clean(text: str) -> str:
    """Turn line feeds and tabs into spaces and strip the ends."""
    return "".join(" " if letter in "\n\t" else letter for letter in text).strip()


def punctuation(text: str, comma: str) -> str:
    """Delete or blank each mark by what stands beside it in the given text, then delete 32 periods at most."""
    result = text
    for mark in MARKS:
        beside = any(pair in text for pair in (mark + " ", " " + mark))
        result = result.replace(mark, "" if beside or re.search(comma, text) else " ")
    kept, deleted = [], 0
    for place, letter in enumerate(result):
        # Python's \d matches the decimal digits of every script.
        digit_next = place + 1 < len(result) and result[place + 1].isdecimal()
        if letter == "." and not digit_next and deleted < 32:
            deleted += 1
        else:
            kept.append(letter)
    return "".join(kept)


def digits_and_articles(text: str) -> str:
    """Word by word: number words, articles, contractions."""
    words = []
    for word in text.lower().split():
        if word == "none":
            word = "0"
        if word in NUMBERS:
            word = str(NUMBERS.index(word))
        if word not in ("a", "an", "the"):
            words.append(CONTRACTIONS.get(word, word))
    return " ".join(words)


OFFICIAL, MMF = r"(\d)(,)(\d)", r"(?<=\d)(,)+(?=\d)"


def official2021(prediction: str, answers: list[dict]) -> float:
    """Score one question; an answer is a dict with `answer` and any other keys."""
    answers = [{**answer, "answer": clean(answer["answer"])} for answer in answers]
    prediction = clean(prediction)
    if len({answer["answer"] for answer in answers}) > 1:
        answers = [
            {**answer, "answer": digits_and_articles(punctuation(answer["answer"], OFFICIAL))} for answer in answers
        ]
        prediction = digits_and_articles(punctuation(prediction, OFFICIAL))
    return leave_one_out(prediction, answers)


def official2017(prediction: str, answers: list[dict]) -> float:
    """Score one question as the same code did before 2021."""
    if len({answer["answer"] for answer in answers}) > 1:
        answers = [{**answer, "answer": punctuation(answer["answer"], OFFICIAL)} for answer in answers]
    return leave_one_out(digits_and_articles(punctuation(clean(prediction), OFFICIAL)), answers)


def m4c(prediction: str, answers: list[dict]) -> float:
    """Score one question as MMF does; the places of the answers tell them apart."""

    def processed(text: str) -> str:
        text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
        return digits_and_articles(punctuation(clean(text), MMF))

    placed = [{"answer": processed(answer["answer"]), "place": place} for place, answer in enumerate(answers)]
    return leave_one_out(processed(prediction), placed)


def leave_one_out(prediction: str, answers: list[dict]) -> float:
    """Return the mean over the answers of min(1, matches among the answers that are not equal to it / 3)."""
    total = 0.0  # added one by one, as the public scorers do: their rounding shows the last bit
    for left in answers:
        others = [answer for answer in answers if answer != left]
        total += min(1.0, sum(answer["answer"] == prediction for answer in others) / 3)
    return total / len(answers)


def overall(accuracies: list[float]) -> float:
    """Return the number that the public scorers print."""
    total = 0.0
    for value in accuracies:
        total += value
    return round(100 * total / len(accuracies), 2)


SCORERS = {"official2021": official2021, "official2017": official2017, "m4c": m4c}


def simple(text: str) -> str:
    """Normalise as DomainNet-oVQA does, letter by letter."""
    kept = [letter if letter.isascii() and (letter.isalnum() or letter == " ") else " " for letter in text]
    return " ".join(word for word in "".join(kept).lower().split(" ") if word)


def naming(prediction: str, target: int, classes: list[str]) -> dict[str, bool]:
    """Return for one prediction whether it is right, valid, exact, and contains the name."""
    text, names = simple(prediction), [simple(name) for name in classes]
    label = names.index(text) if text in names else -1
    wanted = names[target]
    return {
        "right": label == target,
        "valid": label != -1,
        "exact": text == wanted,
        "contained": f" {wanted} " in f" {text} ",
    }


def rank(prediction: list[float], classes: list[list[float]], target: int) -> int:
    """Return the target's place by cosine, best first; of equal ones the lower index first."""

    def cosine(a: list[float], b: list[float]) -> float:
        lengths = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0

    order = sorted(range(len(classes)), key=lambda k: (-round(cosine(prediction, classes[k]), 9), k))
    return order.index(target)


def consensus(accuracies: list[float], k: int) -> float:
    """Return Shah et al.'s CS(k) of one group: the share of its subsets of k whose every accuracy is above 0."""
    from itertools import combinations

    subsets = list(combinations(accuracies, k))
    return sum(all(value > 0 for value in subset) for subset in subsets) / len(subsets)
