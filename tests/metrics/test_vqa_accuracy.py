"""The three VQA scorers: what the public ones said of 2,000 cases, and slow versions on many drawn ones."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.metrics.vqa import accuracy as vqa
from digrap.metrics.vqa import text
from digrap.metrics.vqa.contractions import CONTRACTIONS
from digrap.metrics.vqa.summary import report
from tests.reference import vqa as slow

FOLDER = Path(__file__).parents[1] / "data" / "vqa_scorers"
FIXTURE = json.loads(lzma.decompress((FOLDER / "cases.json.xz").read_bytes()))
CASES = FIXTURE["cases"]
BATCH = 200


@pytest.mark.parametrize("scorer", vqa.SCORERS)
def test_public_scorers_values(scorer):
    expected = FIXTURE[scorer]
    keys = [None if case["ids"] else [0] * len(case["answers"]) for case in CASES]
    said, answers = [case["prediction"] for case in CASES], [case["answers"] for case in CASES]
    found = vqa.accuracies(said, answers, scorer, keys)
    np.testing.assert_allclose(found, expected["per_question"], rtol=0, atol=1e-9)
    summary = report(found, [case["answer_type"] for case in CASES], [case["question_type"] for case in CASES])
    assert summary["overall"]["accuracy"] == pytest.approx(expected["overall"], abs=1e-9)
    loops = [
        slow.SCORERS[scorer](case["prediction"], as_dicts(case["answers"], key))
        for case, key in zip(CASES, keys, strict=True)
    ]
    assert found.tolist() == loops and summary["overall"]["rounded"] == slow.overall(loops)
    for ours, theirs in (("per_answer_type", "perAnswerType"), ("per_question_type", "perQuestionType")):
        if theirs in expected:
            cells = {name: cell["accuracy"] for name, cell in summary[ours].items()}
            assert cells == pytest.approx(expected[theirs], abs=1e-9)


PLAIN = """a an the The none zero One two ten yes no dog dogs 's it's dont cant's 'ows'at somebody'd Im im youd've
yall'd've 1,000 1,,0 1, 2 3.5 .5 5. 10 ٣ ٣,٤ 3.٣ ² Ⅳ İ ß U.S.A. t-shirt n/a - / ( ) [x] {b} a;b c? d! ` " \\ _ @ < >
= + , ? . '"""
WORDS = [*PLAIN.split(), "", " ", "\n", "\t", "\u00a0", "\x1f", "." * 33, ". " * 40, "." * 70 + "5", "x." * 35]
SEPARATORS = ["", " ", " ", " ", "  ", "\t", "\n", ","]


def drawn_text(rng) -> str:
    """A few words from the list, joined by what scorers trip over."""
    parts = [str(WORDS[k]) for k in rng.integers(len(WORDS), size=rng.integers(5))]
    return "".join(part + SEPARATORS[rng.integers(len(SEPARATORS))] for part in parts)


def drawn_question(rng, ten: bool):
    """Answers from a small pool, so that some agree, and a prediction that is often one of them."""
    pool = [drawn_text(rng) for _ in range(rng.integers(1, 5))]
    pool += [pool[0].upper(), f"the {pool[0]} "]
    n = 10 if ten else int(rng.integers(1, 14))
    answers = [pool[k] for k in rng.integers(rng.integers(1, len(pool) + 1), size=n)]
    keys = None if rng.random() < 0.5 else rng.integers(rng.integers(1, 4), size=n).tolist()
    return pool[rng.integers(len(pool))] if rng.random() < 0.8 else drawn_text(rng), answers, keys


def as_dicts(answers, keys):
    """Answers the way the files have them: with ids, or with something that several share."""
    places = range(len(answers)) if keys is None else keys
    return [{"answer": answer, "answer_id": place} for answer, place in zip(answers, places, strict=True)]


@pytest.mark.parametrize("scorer", vqa.SCORERS)
@pytest.mark.parametrize("cases", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_equals_the_slow_version(scorer, cases):
    @settings(max_examples=cases // BATCH, deadline=None, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def equal(seed):
        rng = np.random.default_rng(seed)
        questions = [drawn_question(rng, ten=scorer == "m4c") for _ in range(BATCH)]
        said, answers, keys = (list(column) for column in zip(*questions, strict=True))
        found = vqa.accuracies(said, answers, scorer, keys)
        expected = [slow.SCORERS[scorer](p, as_dicts(a, k)) for p, a, k in questions]
        assert found.tolist() == expected

    equal()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(" .,;/-'\"?!()\n\t019٣²aAneothİ\u00a0"), max_size=90))
def test_texts_equal_the_slow_version(drawn):
    assert text.clean(drawn) == slow.clean(drawn)
    assert text.punctuation(drawn) == slow.punctuation(drawn, slow.OFFICIAL)
    assert text.punctuation(drawn, text.DIGIT_COMMAS_DIGIT) == slow.punctuation(drawn, slow.MMF)
    assert text.digits_and_articles(drawn) == slow.digits_and_articles(drawn)


def test_texts_by_hand():
    assert text.normalise("The two dogs, maybe?") == "2 dogs maybe"
    assert text.normalise("1,000 t-shirts") == "1000 tshirts"  # a comma between digits deletes every mark
    assert text.normalise("t-shirt") == "t shirt"
    assert text.normalise("3.5 and .5 and 5.") == "3.5 and .5 and 5"
    assert text.punctuation("." * 40) == "." * 8
    assert text.normalise("Youd've said isnt") == "you'd've said isn't"
    assert text.normalise("somebody'd") == "somebodyd"
    assert text.normalise_m4c("the dog's") == "dog 's"
    assert CONTRACTIONS["hadn'tve"] == CONTRACTIONS["hadnt've"] == "hadn't've" and CONTRACTIONS["Im"] == "I'm"
    assert len(CONTRACTIONS) == 118


def test_scorers_by_hand():
    two = ["two"] * 6 + ["2"] * 4
    assert vqa.accuracies(["two"], [two]).tolist() == [1.0]
    assert vqa.accuracies(["two"], [two], "official2017").tolist() == [1.0]  # the four "2"; "two" is never hit
    assert vqa.accuracies(["two"], [["two"] * 9 + ["2"]], "official2017") == pytest.approx([0.3])
    assert vqa.accuracies(["yes"], [["yes"] * 10], keys=[[0] * 10]).tolist() == [0.0]  # equal dicts drop together
    assert vqa.accuracies(["yes"], [["yes"] * 10]).tolist() == [1.0]
    assert vqa.accuracies([], []).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], [["a"]], "official2020"), "nearest: official2021"),
        ((["a"], [["a"]], "zzz"), "valid: official2021, official2017, m4c"),
        ((["a"], [["a"], ["b"]]), "1 predictions for the answers of 2 questions"),
        ((["a", "b"], [["a"], []]), "question number 1 (from 0) has no answers"),
        ((["a"], ["abc"]), "has the string 'abc' as its answers"),
        (([3], [["a"]]), "a prediction is 3, not a string"),
        ((["a"], [["a", ["b"]]]), "an answer is ['b'], not a string"),
        ((["a"], [["a"] * 9], "m4c"), "has 9 answers (1 such): scorer=m4c needs ten"),
        ((["a"], [["a"] * 3], "official2021", [[0, 1]]), "has 3 answers and 2 keys"),
        ((["a"], [["a"] * 3], "official2021", []), "keys has 0 entries for 1 questions"),
        ((["a"], [[]], "official2021", None, ["262148000"]), "question 262148000 has no answers"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, words):
    with pytest.raises(DigrapError) as error:
        vqa.accuracies(*arguments)
    assert words in str(error.value)
