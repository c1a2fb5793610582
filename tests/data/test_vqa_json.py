"""dataset=vqa_json: one's own questions."""

import gzip
import json
import unicodedata

import pytest
from PIL import Image

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.engine.build import build_data
from digrap.metrics.vqa.annotations import read_annotations


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(8):
        Image.new("RGB", (20, 10), (30 * number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    for number, name in enumerate(("train", "val", "test", "test_night", "test_xray")):
        rows = [
            {"image": f"{number}.png", "question": "How dark?", "answer": "very"},
            {"image": f"{number}.png", "question": "Which?", "answers": ["a", "b", "b"], "answer_type": "other"},
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


def build(root, *overrides):
    return build_data(compose(["dataset=vqa_json", f"dataset.root={root}", *overrides]))


def test_a_users_sets_become_splits(root):
    data = build(root, "dataset.near_ood=[night]", "dataset.far_ood=xray")
    assert [(s.name, s.kind) for s in data.splits.values()] == [
        ("train", "id_train"), ("val", "id_val"), ("test", "id_test"), ("night", "near_ood"), ("xray", "far_ood"),
    ]  # fmt: skip
    picture, record = data.splits["night"].load()[0]
    assert picture.getpixel((0, 0)) == (90, 0, 0)
    assert (record.id, record.answers, record.kind, record.target) == ("0", ("very",) * 10, "near_ood", "very")
    about = data.about()
    assert about["problems"]["night"]["not ten answers"]["count"] == 1
    assert about["leaks"]["test"]["pictures_leaked"] == 0


def test_what_training_has_of_the_tests_is_counted(root):
    (root / "test.json").write_text((root / "train.json").read_text())
    found = build(root).about()["leaks"]["test"]
    assert found["by_text"] == found["questions"] == 2 and found["pictures_leaked"] == 1


def test_vqas_pair_of_files(root):
    questions = [{"question_id": 5, "image_id": 3, "question": "What?"}]
    answers = [{"answer": "yes", "answer_id": k} for k in range(1, 11)]
    (root / "q.json").write_text(json.dumps({"questions": questions}))
    (root / "a.json").write_text(json.dumps({"annotations": [{"question_id": 5, "image_id": 3, "answers": answers}]}))
    splits = "dataset.splits.test={questions: q.json, annotations: a.json, kind: id_test}"
    data = build(root, "~dataset.splits.test", f"+{splits}", "dataset.image_name='{image_id}.png'")
    picture, record = data.splits["test"].load()[0]
    assert (record.id, record.image, record.answers) == ("5", "images/3.png", ("yes",) * 10)
    for name in ("nothing", "image_id.x", "image_id[x]", ""):
        spoilt = build(root, "~dataset.splits.test", f"+{splits}", f"dataset.image_name='{{{name}}}.png'")
        with pytest.raises(DigrapError, match="no question could be read.*question that names no picture"):
            spoilt.about()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "val.json").unlink(), "val.json is missing"),
        (lambda root: (root / "val.json").write_text("[{"), "cut off"),
        (lambda root: (root / "val.json").write_bytes(b'["\xff"]'), "not UTF-8"),
        (lambda root: (root / "val.json").write_text("{}"), "has no 'questions'"),
        (lambda root: [path.unlink() for path in (root / "images").iterdir()], "dataset.images=FOLDER"),
    ],
)
def test_bad_files_end_in_one_message(root, spoil, words):
    spoil(root)
    with pytest.raises(DigrapError, match=words):
        build(root).about()


def test_bad_options_end_in_one_message(root):
    with pytest.raises(DigrapError, match="no such folder"):
        build(root / "no")
    with pytest.raises(DigrapError, match="already"):
        build(root, "dataset.near_ood=[test]")
    with pytest.raises(DigrapError, match="give kind"):
        build(root, "+dataset.splits.more={folder: x, kind: far_ood}")
    with pytest.raises(DigrapError, match="2 of kind id_val"):
        build(root, "+dataset.splits.more={file: val.json, kind: id_val}")


def test_faulty_entries_are_counted_and_the_others_keep_their_place(root):
    rows = [
        {"image": "1.png", "question": "no answers"}, {"image": "1.png"}, 3, {"question": "no picture", "answer": "b"},
        {"image": "2.png", "question": "a", "answer": "b"}, {"image": "2.png", "question": None, "answers": "c"},
    ]  # fmt: skip
    (root / "test.json").write_text(json.dumps(rows))
    data = build(root)
    assert [record.id for record in data.splits["test"].load().records] == ["4", "5"]
    assert data.splits["test"].load().records[1].question == ""
    counts = {kind: found["count"] for kind, found in data.about()["problems"]["test"].items()}
    assert counts == {
        "entry that lacks a key (left out)": 2, "entry that is no object (left out)": 1,
        "question that names no picture (left out)": 1, "empty question": 1,
    }  # fmt: skip
    with pytest.raises(DigrapError, match="lacks a key"):
        build(root, "dataset.strict=true").splits["test"].load()


def test_an_answer_that_is_a_number_is_taken_as_text(root):
    rows = [
        {"image": "1.png", "question": "How many?", "answer": 5},
        {"image": "1.png", "question": "How?", "answers": [5]},
    ]
    (root / "test.json").write_text(json.dumps(rows))
    data = build(root)
    assert [record.answers for record in data.splits["test"].load().records] == [("5",) * 10] * 2


def test_a_picture_is_one_whatever_its_path(root):
    rows = json.loads((root / "train.json").read_text())
    (root / "test.json").write_text(json.dumps([{**row, "image": f"./x/../{row['image']}"} for row in rows]))
    assert build(root).about()["leaks"]["test"]["by_text"] == 2


def test_nothing_but_faults_is_said(root):
    (root / "test.json").write_text("[null]")
    with pytest.raises(DigrapError, match="split test: no question could be read.*no object"):
        build(root).about()


@pytest.mark.parametrize(
    "answers", [{"answer": ["yes"] * 10}, [["yes"]] * 10, [True] * 10, [{"text": "yes"}], [None], {}]
)
def test_answers_that_are_no_texts_are_left_out_counted_and_never_scored(root, answers):
    rows = [
        {"image": "1.png", "question": "a", "answers": answers},
        {"image": "1.png", "question": "b", "answers": ["no"] * 10},
    ]
    (root / "test.json").write_text(json.dumps(rows))
    data = build(root)
    assert [(record.id, record.answers) for record in data.splits["test"].load().records] == [("1", ("no",) * 10)]
    (found,) = data.about()["problems"]["test"].values()
    assert found["count"] == 1 and found["first"][0].startswith("split test, question 0: ")
    with pytest.raises(DigrapError, match="question whose answers are not texts"):
        build(root, "dataset.strict=true").splits["test"].load()


@pytest.mark.parametrize("value", [2, 2.0, "2"])
def test_a_number_is_one_answer_in_training_and_in_scoring(root, tmp_path, value):
    rows = [{"question_id": 7, "image": "1.png", "question": "How many?", "answers": [value] * 9 + ["3"]}]
    (root / "test.json").write_text(json.dumps(rows))
    data, problems = build(root), Problems()
    (trained,) = data.splits["test"].load().records
    (scored,) = read_annotations(root / "test.json", problems)
    assert trained.answers == scored.answers == ("2",) * 9 + ("3",)
    assert data.about()["problems"].get("test", {}).keys() == problems.counts.keys() - LACKING


LACKING = {"annotation without answer_type", "annotation without question_type"}


def test_json_lines_and_compressed_files_are_read(root):
    rows = json.loads((root / "train.json").read_text())
    (root / "test.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "val.json").write_bytes(gzip.compress(json.dumps(rows).encode()))
    (root / "test_night.json").write_text(json.dumps({"data": [row | {"question_id": 3} for row in rows[:1]]}))
    data = build(root, "dataset.near_ood=[night]")
    assert [len(data.splits[name].load()) for name in ("test", "val", "night")] == [2, 2, 1]
    (root / "test.json").write_text(json.dumps(rows[0]) + '\n{"image": ')
    with pytest.raises(DigrapError, match="test.json: line 2 is not JSON in UTF-8, or cut off"):
        build(root).about()


def test_a_pair_with_padded_image_ids(root):
    asked = [{"question_id": "05", "image_id": "000000000003", "question": "?"}, {"question_id": 6, "question": "?"}]
    answered = [{"question_id": 5, "image_id": 3, "answers": ["yes"] * 10}, {"question_id": 8, "answers": ["a"]}]
    (root / "q.json").write_text(json.dumps(asked))
    (root / "a.json").write_text(json.dumps(answered))
    splits = "dataset.splits.test={questions: q.json, annotations: a.json, kind: id_test}"
    data = build(root, "~dataset.splits.test", f"+{splits}", "dataset.image_name=3.png")
    assert [record.id for record in data.splits["test"].load().records] == ["5"]
    assert data.about()["problems"]["test"] == {
        "question without annotation (left out)": {"count": 1, "first": [f"{root / 'q.json'}: question 6"]},
        "annotation without question (left out)": {"count": 1, "first": [f"{root / 'a.json'}: question 8"]},
        "empty question": {"count": 1, "first": ["split test, question 5"]},
    }


@pytest.mark.parametrize("image", [{"path": "1.png"}, ["1.png"], True])
def test_an_image_that_is_no_path_is_said(root, image):
    (root / "test.json").write_text(json.dumps([{"image": image, "question": "a", "answer": "b"}]))
    with pytest.raises(DigrapError, match="question that names no picture .*question 0: `image` is "):
        build(root).about()


def test_pictures_are_named_by_numbers_however_they_are_written(root):
    (root / "images" / "7.png").rename(root / "images" / "0007.png")
    rows = [{"image_id": value, "question": "a", "answer": "b"} for value in ("07", 7, 7.0, "x", None)]
    (root / "test.json").write_text(json.dumps(rows))
    data = build(root, "dataset.image_name='{image_id:04d}.png'")
    assert [record.image for record in data.splits["test"].load().records] == ["images/0007.png"] * 3
    assert data.about()["problems"]["test"]["question that names no picture (left out)"]["count"] == 2
    (root / "test.json").write_text(json.dumps([{"image_id": 1.0, "question": "a", "answer": "b"}]))
    (record,) = build(root, "dataset.image_name='{image_id}.png'").splits["test"].load().records
    assert record.image == "images/1.png"


@pytest.mark.parametrize(("on_disk", "in_file"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_picture_whose_accents_the_disk_writes_otherwise(root, on_disk, in_file):
    name = "Été/é.png"
    (root / "images" / unicodedata.normalize(on_disk, "Été")).mkdir()
    (root / "images" / "3.png").rename(root / "images" / unicodedata.normalize(on_disk, name))
    asked = {"image": unicodedata.normalize(in_file, name), "question": "a", "answer": "b"}
    (root / "test.json").write_text(json.dumps([asked, asked | {"image": "ö.png"}]))
    data = build(root).splits["test"].load()
    assert data[0][0].getpixel((0, 0)) == (90, 0, 0) and len(data) == 1
    assert data.faults["test"].examples["missing picture"] == [str(root / "images" / "ö.png")]
