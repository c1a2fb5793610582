"""Consistency over rephrasings, flips over edits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.consistency import consistency, flips, integer
from digrap.metrics.vqa.question import Question
from tests.reference import vqa as slow


def rephrased(sizes):
    """Entries of groups of these sizes."""
    return [
        Question(f"{group}_{k}", "1", ("yes",) * 10, rephrasing_of=f"{group}_0" if k else None)
        for group, size in enumerate(sizes)
        for k in range(size)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_consensus_equals_the_slow_version(sizes, seed):
    accuracy = np.random.default_rng(seed).choice([0.0, 0.0, 0.3, 1.0], size=sum(sizes))
    problems = Problems()
    found = consistency(rephrased(sizes), accuracy, problems)
    groups = [part.tolist() for part in np.split(accuracy, np.cumsum(sizes)[:-1])]
    assert found["groups"] == len(sizes) and not problems
    assert found["all_right"] == pytest.approx(100 * np.mean([all(v > 0 for v in group) for group in groups]))
    for k in range(1, 5):
        expected = [slow.consensus(group, k) for group in groups if len(group) >= k]
        assert found["consensus"][str(k)]["groups"] == len(expected)
        score = found["consensus"][str(k)]["score"]
        assert score == pytest.approx(100 * np.mean(expected)) if expected else score is None


def test_odd_groups_are_counted():
    entries = [*rephrased([3]), Question("alone", "1", ("a",)), Question("orphan", "1", ("a",), rephrasing_of="gone")]
    problems = Problems()
    found = consistency(entries, np.array([1.0, 0.3, 0.0, 1.0, 1.0]), problems)
    assert found["groups"] == 2 and found["wordings"] == {"1": 1, "3": 1} and found["all_right"] == 50.0
    assert found["consensus"]["2"] == {"groups": 1, "score": pytest.approx(100 / 3)}
    assert found["consensus"]["4"] == {"groups": 0, "score": None}
    assert list(problems.counts.values()) == [1, 1] and problems.examples[next(iter(problems.counts))] == [
        "question alone"
    ]
    with pytest.raises(DigrapError, match="no question has rephrasing_of"):
        consistency(entries[3:4], np.ones(1), Problems())


def edits(answers):
    """One edit an answer, of questions 0, 1, 2 …"""
    return [Question(str(k), f"{k}_a", (answer,) * 10) for k, answer in enumerate(answers)]


def counts(found, kind):
    return {name: part["count"] for name, part in found[kind]["transitions"].items() if part["count"]}


def test_invariant_edits_by_hand():
    entries = [*edits(["red"] * 6), Question("0", "0_b", ("red",) * 10)]
    after = ["Red.", "blue", "red", "blue", "green", None, "blue"]
    before = {"0": "red", "1": "red", "2": "blue", "3": "green", "4": "green", "5": "red", "99": "red"}
    problems = Problems()
    found = flips(entries, after, before, "iv", problems)
    assert (found["n"], found["compared"], found["without_edit"], found["without_original"]) == (7, 6, 1, 0)
    assert found["originals_without_edit"] == 1
    assert found["flipped"]["count"] == 4 and found["flipped"]["percent"] == pytest.approx(400 / 6)
    assert counts(found, "flipped") == {"pos_neg": 2, "neg_pos": 1, "neg_neg": 1}
    assert counts(found, "consistent") == {"pos_pos": 1, "neg_neg": 1}
    assert problems.summary() == {"edit without prediction (not compared)": {"count": 1, "first": ["question 5/5_a"]}}


def test_covariant_edits_by_hand():
    entries = edits(["1", "1", "1", "1", "0", "-1"])
    after = ["1", "two", "many", "1", "0", "-1"]
    before = {"0": "2", "1": "3", "2": "2", "3": "1", "4": "none", "5": "zero"}
    found = flips(entries, after, before, "cv", Problems())
    # 2 → 1 right; 3 → two wrong but one less; many is no number; 1 → 1 stayed; 0 → 0 stayed; zero → −1 is one less
    assert found["consistent"]["count"] == 3 and counts(found, "consistent") == {"pos_pos": 2, "neg_neg": 1}
    assert counts(found, "flipped") == {"pos_neg": 1, "neg_pos": 2}
    assert found["edit_not_a_number"]["count"] == 1


@pytest.mark.parametrize(
    ("said", "number"), [("3", 3), (" three ", 3), ("The 10.", 10), ("-1", -1), ("none", 0), ("3.5", None), ("", None)]
)
def test_integers(said, number):
    assert integer(said) == number


def test_bad_flips():
    with pytest.raises(DigrapError, match="edit=xv: choose one of iv, cv"):
        flips(edits(["a"]), ["a"], {"0": "a"}, "xv", Problems())
    with pytest.raises(DigrapError, match="no edit has a prediction"):
        flips(edits(["a"]), ["a"], {"7": "a"}, "iv", Problems())
    with pytest.raises(DigrapError, match="has the answer 'red', which is not an integer"):
        flips(edits(["red"]), ["a"], {"0": "a"}, "cv", Problems())
