"""The report of scored questions, and the problems that are kept on the way."""

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.summary import official, report


def test_cells_by_hand():
    found = report(np.array([1.0, 0.3, 0.0]), ["number", "other", "number"], ["how many", None, "how many"])
    assert found["n"] == found["overall"]["n"] == 3
    assert found["overall"]["accuracy"] == pytest.approx(130 / 3) and found["overall"]["rounded"] == 43.33
    assert {name: cell["accuracy"] for name, cell in found["per_answer_type"].items()} == {
        "number": 50.0,
        "other": 30.0,
    }
    assert list(found["per_question_type"]) == ["how many"] and found["per_question_type"]["how many"]["n"] == 2
    assert report(np.array([1.0]))["per_answer_type"] == {}


def test_rounding_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    for n in (1, 7, 200, 4321):
        values = rng.choice([0.0, 0.3, 0.6, 0.9, 1.0, 1 / 3], size=n)
        total = 0.0
        for value in values.tolist():
            total += value
        assert official(values) == round(100 * total / n, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros(0),), "give those of one question or more"),
        ((np.array([50.0]),), "not in 0..1"),
        ((np.array([np.nan]),), "not in 0..1"),
        ((np.zeros(2), ["a"]), "1 answer types for 2 accuracies"),
    ],
)
def test_bad_accuracies(arguments, words):
    with pytest.raises(DigrapError, match=words):
        report(*arguments)


def test_problems_count_and_keep_the_first_three():
    problems = Problems()
    assert not problems and problems.summary() == {}
    for k in range(5):
        problems.add("odd", f"line {k}")
    problems.add("cut off", "the end", count=7)
    problems.add("nothing", "nowhere", count=0)
    assert problems and problems.counts == {"odd": 5, "cut off": 7}
    assert problems.summary()["odd"] == {"count": 5, "first": ["line 0", "line 1", "line 2"]}
    with pytest.raises(DigrapError, match="odd: line 0"):
        Problems(strict=True).add("odd", "line 0")
