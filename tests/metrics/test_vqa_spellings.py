"""Ids that files spell differently: leading zeros, OK-VQA's <id>.jpg, places; duplicates under two names."""

import unicodedata

import numpy as np
import pytest

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.consistency import consistency
from digrap.metrics.vqa.ids import Spellings, plain
from digrap.metrics.vqa.predictions import Prediction
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.score import PLACED, UNUSED, match

TEN = ("a",) * 10
UNKNOWN = "prediction for an unknown question (left out)"


def test_plain_ids():
    names = ("0012", "0", "000", "12/007", "a07", "1_02", "², 3", "")
    assert [plain(name) for name in names] == ["12", "0", "0", "12/7", "a07", "1_02", "², 3", ""]
    assert plain(unicodedata.normalize("NFD", "é.jpg")) == "é.jpg"


def test_an_id_is_found_as_it_is_before_other_spellings_are_tried():
    both = Spellings(["07", "7", "08"])
    assert [both.find(name) for name in ("07", "7", "007", "8", "9")] == ["07", "7", None, "08", None]


@pytest.mark.parametrize(("asked", "said"), [("12", "0012"), ("0012", "12"), ("0012", "012")])
def test_leading_zeros_of_a_question_id(asked, said):
    assert match([Question(asked, "1", TEN)], [Prediction(said, "x")], Problems(strict=True))[1] == ["x"]


def test_leading_zeros_of_an_image_id_tell_edits_apart():
    asked = [Question("5", "000000012345", TEN), Question("5", "000000000007", TEN)]
    for said in (
        [Prediction("5", "x", "12345"), Prediction("005", "y", "7")],
        [Prediction("5/12345", "x"), Prediction("5/07", "y")],
    ):
        assert match(asked, said, Problems(strict=True))[1] == ["x", "y"]


def test_a_picture_whose_accent_is_written_apart():
    asked = [Question("0", "é.jpg", TEN, name="é.jpg", placed=True)]
    said = [Prediction(unicodedata.normalize("NFD", "é.jpg"), "x")]
    assert match(asked, said, Problems(strict=True))[1] == ["x"]


def test_rephrasings_of_a_padded_original_are_its_group():
    asked = [Question("7", "1", TEN), Question("8", "1", TEN, rephrasing_of="007", name="007/8")]
    found = consistency(asked, np.ones(2), problems := Problems())
    assert found["wordings"] == {"2": 1} and not problems


def test_the_image_of_okvqas_submission_is_the_question():
    asked = [Question("2971475", "81721", TEN, image="images/coco/val2014/COCO_val2014_000000081721.jpg")]
    assert match(asked, [Prediction("2971475.jpg", "x")], Problems(strict=True))[1] == ["x"]
    vizwiz = [Question("0", "v0.jpg", TEN, name="v0.jpg", image="images/vizwiz/val/v0.jpg", placed=True)]
    assert match(vizwiz, [Prediction("v0.jpg.jpg", "x")], Problems(strict=True))[1] == ["x"]


def test_a_picture_called_by_a_number_is_no_question_id():
    """Question 1 is about 7.jpg, and question 7 is another one: a prediction for the picture is for neither."""
    for own in ({"image": "images/7.jpg"}, {}):
        asked = [Question("1", "7.jpg", TEN, **own), Question("7", "9.jpg", TEN)]
        with pytest.raises(DigrapError, match="none of the 1 predictions is for one of these 2 questions"):
            match(asked, [Prediction("7.jpg", "x")], Problems())
    by_place = [Question(str(k), f"{k + 1}.jpg", TEN, name=f"{k + 1}.jpg", placed=True) for k in range(9)]
    assert match(by_place, [Prediction("7.jpg", "x")], Problems())[1] == [None] * 6 + ["x", None, None]


def test_a_place_names_only_questions_without_ids():
    said = [Prediction("1", "x", placed=True, file="/log.jsonl"), Prediction("2", "y", placed=True, file="/log.jsonl")]
    without = [Question(str(k), None, TEN, placed=True) for k in range(1, 3)]
    assert match(without, said, Problems(strict=True))[1] == ["x", "y"]
    asked = [Question(str(k), None, TEN) for k in range(1, 3)]
    with pytest.raises(
        DigrapError, match=r"of /log.jsonl .*first ids: 1, 2 and 1, 2\).*add question_id to the samples"
    ):
        match(asked, said, Problems())
    problems = Problems()
    assert match(asked, [said[0], Prediction("2", "z")], problems)[1] == [None, "z"]
    assert problems.summary()[PLACED] == {"count": 1, "first": ["/log.jsonl: question 1"]}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("keep", ["last", "first"])
def test_one_question_under_two_names_is_a_duplicate(order, keep):
    asked = [Question(str(k), f"v{k}.jpg", TEN, name=f"v{k}.jpg", placed=True) for k in range(2)]
    said = [Prediction("0", "by place"), Prediction("v0.jpg", "by picture")][::order]
    problems = Problems()
    assert match(asked, said, problems, keep)[1] == [said[-1 if keep == "last" else 0].answer, None]
    assert problems.counts[f"duplicate prediction (the {keep} is kept)"] == 1


def test_one_prediction_for_edits_that_have_their_own_is_counted():
    asked = [Question("5", "a", TEN), Question("5", "b", TEN)]
    problems = Problems()
    said = [Prediction("5", "all", file="p.json"), Prediction("5", "x", "a"), Prediction("5", "y", "b")]
    assert match(asked, said, problems)[1] == ["x", "y"]
    assert problems.summary() == {UNUSED: {"count": 1, "first": ["p.json: question 5"]}}


def test_what_has_no_counterpart_is_named_with_its_file():
    problems = Problems()
    said = [Prediction("1", "x", file="/p.json"), *(Prediction(str(k), "x", file="/p.json") for k in range(5, 10))]
    match([Question("1", None, TEN)], said, problems)
    assert problems.summary() == {
        UNKNOWN: {"count": 5, "first": [f"/p.json: question {k}" for k in (5, 6, 7)]},
    }
