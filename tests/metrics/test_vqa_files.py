"""Annotation, question and prediction files: what is read, counted and refused."""

import json

import pytest

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.metrics.vqa.annotations import LACKING_IDS, read_annotations
from digrap.metrics.vqa.answers import answer_keys
from digrap.metrics.vqa.predictions import Prediction, by_id, read_predictions
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.score import match, score


def write(path, value):
    """A file with a value as JSON, or with text or bytes as they are."""
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def annotation(question_id, answers=("yes",) * 10, ids=True, **rest):
    texts = [{"answer": text, **({"answer_id": k + 1} if ids else {})} for k, text in enumerate(answers)]
    return {"question_id": question_id, "answers": texts, "answer_type": "other", "question_type": "what", **rest}


def test_keys_number_what_the_official_code_compares():
    assert answer_keys([{"answer": "a", "answer_id": 1}, {"answer": "a", "answer_id": 2}]) is None
    assert answer_keys([{"answer": "a"}, {"answer": "b"}]) == (0, 0)
    sure = [{"answer": "a", "answer_confidence": word} for word in ("yes", "no", "yes")]
    assert answer_keys(sure) == (0, 1, 0)
    assert answer_keys([{"answer": "a", "answer_id": 1}, {"answer": "a", "answer_id": 1.0}]) == (0, 0)
    assert answer_keys([{"answer": "a", "boxes": [1]}, {"answer": "a", "boxes": [2]}]) is None
    assert answer_keys(["a", "a"]) is None


def test_vizwiz_answers_drop_together_until_ids_are_added(tmp_path):
    made = annotation("VizWiz_val_0", ids=False)
    for k, answer in enumerate(made["answers"]):
        answer["answer_confidence"] = "yes" if k < 8 else "no"
    path, problems = write(tmp_path / "a.json", [made]), Problems()
    entries = read_annotations(path, problems)
    assert entries[0].answer_keys == (0,) * 8 + (1,) * 2 and list(problems.counts) == [LACKING_IDS]
    said = [Prediction("VizWiz_val_0", "yes")]
    # 8 answers see the 2 others, 2 see the 8
    assert score(entries, said, "official2021", problems).accuracy.tolist() == pytest.approx([(8 * 2 / 3 + 2) / 10])
    problems = Problems(strict=True)
    assert score(read_annotations(path, problems, answer_ids="add"), said, "official2017", problems).accuracy[0] == 1.0


def test_wrapped_and_bare_files_are_one(tmp_path):
    made = [annotation(k, image_id=7) for k in range(3)]
    asked = [{"question_id": k, "image_id": 7, "question": "?"} for k in (0, 1, 3)]
    asked[1]["rephrasing_of"] = 0
    found = []
    for wrapped in (False, True):
        annotations = write(tmp_path / "a.json", {"annotations": made} if wrapped else made)
        questions = write(tmp_path / "q.json", {"questions": asked} if wrapped else asked)
        problems = Problems()
        found.append((read_annotations(annotations, problems, questions), problems.summary()))
    assert found[0] == found[1]
    entries, problems = found[0]
    assert [entry.rephrasing_of for entry in entries] == [None, "0", None]
    assert problems == {
        "annotation without question (scored)": {"count": 1, "first": [f"{annotations}: question 2/7"]},
        "question without annotation (not scored)": {"count": 1, "first": [f"{questions}: question 3/7"]},
    }


def test_missing_types_are_counted(tmp_path):
    made = annotation(1)
    del made["question_type"]
    problems = Problems()
    assert read_annotations(write(tmp_path / "a.json", [made]), problems)[0].question_type is None
    assert problems.counts == {"annotation without question_type": 1}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        ("[]", "has no annotations: its list is empty"),
        ('[{"question_id": 1, "answ', "cut off"),
        ("[1 2]", "is not JSON"),
        (b"\xff\xfe[]", "is not UTF-8 (byte 0)"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5_000 + "]", "cannot be read as JSON"),
        ({"questions": []}, "has no 'annotations' but 'questions'"),
        ("3", "has no list of annotations"),
        ([3], "entry that is no object"),
        ([{"answers": [{"answer": "a"}]}], "no question_id"),
        ([{"question_id": 1}], "question without answers"),
        ([{"question_id": 1, "answers": []}], "question without answers"),
        ([{"question_id": 1, "answers": [{"answer": [3]}]}], "question whose answers are not texts"),
        ([{"question_id": 1, "answers": [{"text": "a"}]}], "question whose answers are not texts"),
    ],
)
def test_bad_annotations(tmp_path, value, words):
    with pytest.raises(DigrapError) as error:
        read_annotations(write(tmp_path / "a.json", value), Problems())
    assert words in str(error.value) and str(tmp_path) in str(error.value)


def test_one_annotation_that_cannot_be_scored_is_left_out_and_counted(tmp_path):
    for bad in (3, {"answers": []}, annotation(1) | {"answers": None}, annotation(1) | {"question_id": None}):
        problems = Problems()
        found = read_annotations(write(tmp_path / "a.json", [bad, annotation(2)]), problems)
        assert [entry.question_id for entry in found] == ["2"] and sum(problems.counts.values()) == 1
        with pytest.raises(DigrapError, match="left out|not scored"):
            read_annotations(tmp_path / "a.json", Problems(strict=True))


def test_missing_file_and_bad_answer_ids(tmp_path):
    with pytest.raises(DigrapError, match="does not exist; give a file with annotations"):
        read_annotations(tmp_path / "none.json", Problems())
    with pytest.raises(DigrapError, match="cannot be read"):
        read_annotations(tmp_path, Problems())
    with pytest.raises(DigrapError, match="answer_ids=no: choose one of file, add"):
        read_annotations(tmp_path / "none.json", Problems(), answer_ids="no")


def test_vqa_predictions(tmp_path):
    problems = Problems()
    made = [{"question_id": 1, "answer": "a"}, {"question_id": "x", "answer": "b", "image_id": 3}, {"answer": "c"}]
    found = read_predictions(write(tmp_path / "p.json", made), problems)
    assert found == [Prediction("1", "a"), Prediction("x", "b", "3")]
    assert list(problems.counts.values()) == [1]
    problems = Problems()
    assert by_id([Prediction("1", "a"), Prediction("1", "b")], problems) == {"1": "b"}
    assert problems.counts == {"duplicate prediction (the last is kept)": 1}


def test_lmms_eval_samples(tmp_path):
    lines = [
        {"doc_id": 0, "doc": {"question_id": 11, "question": "?"}, "filtered_resps": ["a"], "resps": [["A"]]},
        {"doc_id": 1, "filtered_resps": [["b"]], "submission": {"question_id": "12", "answer": "normalised"}},
        {"doc_id": 2, "question_id": 13, "resps": [["c"]]},
        {"doc_id": 3, "filtered_resps": "d"},
        {"doc_id": 4, "filtered_resps": ["e", "f"], "question_id": 15},
        {"doc_id": 5, "question_id": 16},
        {"filtered_resps": ["g"]},
        [1],
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode() + b'\n{"doc_id": 9, "filt\n\xff\xfe\n'
    problems = Problems()
    found = read_predictions(write(tmp_path / "samples_vqav2.jsonl", text), problems)
    assert [(p.question_id, p.answer) for p in found] == [
        ("11", "a"),
        ("12", "b"),
        ("13", "c"),
        ("3", "d"),
        ("15", "e"),
    ]
    assert problems.counts == {
        "no question_id: doc_id taken for it": 1,
        "several responses to a question (the first is kept)": 1,
        "line without filtered_resps, resps or answer (left out)": 2,
        "line without question_id or doc_id (left out)": 1,
        "line that is not JSON, or cut off (left out)": 1,
        "line that is not UTF-8 (left out)": 1,
    }


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("p.json", [{"question_id": 1, "answer": 3}], "prediction that is not text"),
        ("p.json", [{"question_id": [1], "answer": "a"}], "question_id that is neither a whole number nor text"),
        ("p.json", [{"question_id": True, "answer": "a"}], "question_id that is neither a whole number nor text"),
        ("p.json", [{"id": 1}], "has no predictions that can be read as format=vqa"),
        ("p.json", {"answers": []}, "has no 'predictions'"),
        ("p.jsonl", "", "has no predictions that can be read as format=lmms_eval"),
        ("p.jsonl", '{"doc_id": 1, "filtered_resps": [[0.5, true]]}', "prediction that is not text"),
    ],
)
def test_bad_predictions(tmp_path, name, value, words):
    with pytest.raises(DigrapError) as error:
        read_predictions(write(tmp_path / name, value), Problems())
    assert words in str(error.value)


EDITS = [Question("5", "a", ("1",) * 10), Question("5", "b", ("2",) * 10), Question("6", "c", ("3",) * 10)]


def test_edits_of_one_question_are_told_apart_by_image():
    for said in (
        [Prediction("5", "1", "a"), Prediction("5", "2", "b"), Prediction("6", "3", "c")],
        [Prediction("5/a", "1"), Prediction("5/b", "2"), Prediction("6", "3")],
    ):
        problems = Problems(strict=True)
        assert match(EDITS, said, problems) == (EDITS, ["1", "2", "3"])
    problems = Problems()
    assert match(EDITS, [Prediction("5", "1", "a"), Prediction("6", "3", "elsewhere")], problems)[1] == ["1", None, "3"]
    assert problems.summary() == {"question without prediction (scores 0)": {"count": 1, "first": ["question 5/b"]}}


def test_edits_without_image_are_scored_as_the_official_code_does():
    problems = Problems()
    entries, said = match(EDITS, [Prediction("5", "1"), Prediction("5", "2"), Prediction("7", "3")], problems)
    assert entries == [EDITS[1], EDITS[1], EDITS[2]] and said == ["2", "2", None]
    assert sorted(problems.counts.values()) == [1, 1, 1, 2]
    assert score(EDITS, [Prediction("5", "2")], "official2021", Problems()).accuracy.tolist() == [1.0, 1.0, 0.0]


def test_a_rephrasing_with_anothers_number_has_a_name_of_its_own():
    asked = [
        Question("1", "x", ("a",) * 10),
        Question("2", "x", ("b",) * 10),
        Question("1", "x", ("c",) * 10, name="2/1"),
    ]
    for said in ([Prediction("1", "a"), Prediction("2", "b"), Prediction("2/1", "c")],
                 [Prediction("1", "a", "x"), Prediction("2", "b", "x"), Prediction("2/1", "c", "x")]):  # fmt: skip
        assert match(asked, said, Problems(strict=True))[1] == ["a", "b", "c"]
    assert match(asked, [Prediction("1", "a", "x"), Prediction("2", "b", "x")], Problems())[1] == ["a", "b", "a"]


def test_the_first_of_several_predictions_counts_where_asked_for():
    said, problems = [Prediction("6", "3"), Prediction("6", "4")], Problems()
    assert match(EDITS[2:], said, problems, "first")[1] == ["3"] and match(EDITS[2:], said, Problems())[1] == ["4"]
    assert problems.counts == {"duplicate prediction (the first is kept)": 1}
    with pytest.raises(DigrapError, match="duplicates=all: choose one of last, first"):
        match(EDITS, said, Problems(), "all")


def test_no_prediction_never_hits_an_empty_answer():
    asked = [Question("1", None, ("",) * 10), Question("3", None, ("",) * 10)]
    assert score(asked, [Prediction("3", "")], "official2021", Problems()).accuracy.tolist() == [0.0, 1.0]
    with pytest.raises(DigrapError, match="none of the 1 predictions is for one of these 2 questions"):
        score(asked, [Prediction("2", "")], "official2021", Problems())
    with pytest.raises(DigrapError, match="no questions to score"):
        score([], [], "m4c", Problems())


def test_vizwiz_own_forms(tmp_path):
    """No question_id: questions are named by their place, or by their picture."""
    asked = [{"image": f"v{k}.jpg", "question": "?", "answers": [{"answer": str(k)}] * 10} for k in range(2)]
    entries = read_annotations(write(tmp_path / "val.json", asked), Problems(), answer_ids="add")
    by_name = {"image": "v1.jpg", "answer": "1"}
    for said in ([by_name], {"predictions": [by_name]}, [{"question_id": 1, "answer": "1"}]):
        found = read_predictions(write(tmp_path / "p.json", said), Problems())
        assert score(entries, found, "official2021", Problems()).accuracy.tolist() == [0.0, 1.0]


def test_a_picture_in_an_annotation_is_no_name(tmp_path):
    made = [annotation(1) | {"image": "a.jpg", "image_id": k} for k in (7, 8)]
    problems = Problems()
    entries = read_annotations(write(tmp_path / "a.json", made), problems)
    assert [entry.full_id for entry in entries] == ["1/7", "1/8"] and not problems
    assert match(entries, [Prediction("1", "a", "7"), Prediction("1", "b", "8")], Problems(strict=True))[1] == [
        "a",
        "b",
    ]


def test_plain_lines(tmp_path):
    found = read_predictions(write(tmp_path / "p.jsonl", b'{"question_id": 1, "answer": "a"}\n'), Problems(strict=True))
    assert found == [Prediction("1", "a")]


def test_problems_of_several_files_are_counted_together():
    first, second = Problems(), Problems()
    for problems, count in ((first, 2), (second, 5)):
        for place in range(count):
            problems.add("odd", f"place {place}")
    first.merge(second)
    assert first.counts == {"odd": 7} and len(first.examples["odd"]) == 3
    with pytest.raises(DigrapError, match="odd: place 0"):
        Problems(strict=True).merge(second)
