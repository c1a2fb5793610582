"""Class names in a model's own words, and ranks by embeddings, against slow versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.metrics.naming import clip_match, naming, simple
from tests.reference import vqa as slow

CLASSES = ["t-shirt", "The Eiffel Tower", "cell_phone", "cello", "cat", "shirt"]
PHRASES = [
    "T shirt",
    "a t-shirt!",
    "tshirt",
    "cat",
    "the cat.",
    "CELLO",
    "cell phone",
    "eiffel tower",
    "ß cat",
    "",
    "?",
]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("aZ0 -_'\täßÄ²K\n"), max_size=20))
def test_simple_equals_the_slow_version(text):
    assert simple(text) == slow.simple(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PHRASES + CLASSES), st.integers(0, 5)), min_size=1, max_size=30))
def test_naming_equals_the_slow_version(drawn):
    said, targets = zip(*drawn, strict=True)
    found = naming(said, targets, CLASSES)
    expected = [slow.naming(text, target, CLASSES) for text, target in drawn]
    for name in ("right", "valid", "exact", "contained"):
        assert getattr(found, name).tolist() == [row[name] for row in expected]
    summary, valid = found.summary(), [row["right"] for row in expected if row["valid"]]
    assert summary["acc"] == pytest.approx(100 * np.mean([row["right"] for row in expected]))
    assert summary["valid_acc"] == (pytest.approx(100 * np.mean(valid)) if valid else None)
    assert summary["Cont"] >= summary["EM"]


def test_naming_by_hand():
    found = naming(["a T-Shirt", "cello", "cat"], [0, 2, 4], CLASSES)
    assert found.label.tolist() == [-1, 3, 4] and found.contained.tolist() == [True, False, True]
    assert found.summary() == {
        "n": 3, "valid": 2, "acc": pytest.approx(100 / 3), "valid_acc": 50.0, "EM": pytest.approx(100 / 3),
        "Cont": pytest.approx(200 / 3),
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), classes=st.integers(1, 9), d=st.integers(1, 4))
def test_ranks_equal_the_slow_version(seed, n, classes, d):
    rng = np.random.default_rng(seed)
    said, known = rng.integers(-2, 3, size=(n, d)), rng.integers(-2, 3, size=(classes, d))  # small integers: many ties
    targets = rng.integers(classes, size=n)
    found = clip_match(said, known, targets, ks=(1, 2, 5))
    for k, hits in found.items():
        ranks = [slow.rank(row, known.tolist(), target) for row, target in zip(said.tolist(), targets, strict=True)]
        assert hits.tolist() == [rank < k for rank in ranks]


def test_length_and_scale_do_not_matter():
    rng = np.random.default_rng(0)
    said, known, targets = rng.normal(size=(40, 8)), rng.normal(size=(10, 8)), rng.integers(10, size=40)
    plain = clip_match(said, known, targets)
    other = clip_match(said * 1e-200, known * np.arange(1, 11)[:, None], targets)
    assert all((plain[k] == other[k]).all() for k in plain) and (plain[5] >= plain[1]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: naming(["a"], [0, 1], CLASSES), "give one target per prediction"),
        (lambda: naming([], [], CLASSES), "give one target per prediction"),
        (lambda: naming(["a"], [6], CLASSES), "target 6 is not one of the 6 classes"),
        (lambda: naming(["a"], [0.0], CLASSES), "give class indices"),
        (lambda: naming([None], [0], CLASSES), "a prediction is None"),
        (lambda: naming(["a"], [0], ["t-shirt", "T shirt"]), "equal once normalised"),
        (lambda: naming(["a"], [0], ["?"]), "has no letter or digit"),
        (lambda: clip_match(np.ones((2, 3)), np.ones((2, 4)), [0, 1]), "3 and 4 dimensions"),
        (lambda: clip_match(np.ones(3), np.ones((2, 3)), [0]), "prediction embeddings have shape"),
        (lambda: clip_match(np.full((1, 3), np.nan), np.ones((2, 3)), [0]), "not finite"),
        (lambda: clip_match(np.ones((1, 3)), np.ones((2, 3)), [0], ks=(0,)), "numbers from 1"),
    ],
)
def test_bad_naming(call, words):
    with pytest.raises(DigrapError, match=words):
        call()
