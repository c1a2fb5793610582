"""The record of a question: its names, and the form in which it is scored."""

import pickle

import pytest

from digrap.core.errors import DigrapError
from digrap.metrics.vqa.question import Question, kind_of_questions

TEN = ("red",) * 6 + ("blue",) * 4


def test_names():
    plain, edit = Question("5", "7", TEN), Question("5", "7_9", TEN, name="5/7_9")
    assert (plain.id, plain.full_id, edit.id, edit.full_id) == ("5", "5/7", "5/7_9", "5/7_9")
    assert Question("5", None, TEN).full_id == "5/None"
    assert pickle.loads(pickle.dumps(edit)) == edit and not hasattr(edit, "__dict__")


def test_the_form_that_is_scored():
    plain = Question("5", "7", TEN)
    assert plain.to_score() is plain.to_score("file") is plain and plain.target == "red"
    keyed = Question("5", "7", TEN, answer_keys=(0,) * 10, raw_answers=("reds",) * 10)
    assert keyed.to_score("file") is keyed and keyed.to_score("add").answer_keys is None
    assert keyed.to_score(raw=True).answers == ("reds",) * 10 and keyed.to_score(raw=True).name is None
    with pytest.raises(DigrapError, match="question 5 has no raw answers"):
        plain.to_score(raw=True)


def test_kinds_of_splits_and_of_questions():
    kinds = ("id_train", "id_val", "id_test", "near_ood", "far_ood")
    assert list(map(kind_of_questions, kinds)) == ["id", "id", "id", "near_ood", "far_ood"]
