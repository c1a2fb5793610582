"""The VQA readers against generated files in the official formats."""

import json
from pathlib import Path

import pytest
from PIL import Image

from digrap.core.problems import Problems
from digrap.data.vqa import sets
from digrap.data.vqa.pictures import Questions
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS
from digrap.metrics.vqa.answers import answer_keys
from tests.data.make_vqa import make

FACTS = (
    "question_id", "image", "question", "answers", "answer_type", "question_type", "image_id", "origin",
    "rephrasing_of", "picture",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


def read(root, name, part=None, **options):
    problems = Problems()
    return read_set(root, name, part or SETS[name].scored_part, problems, **options), problems


def fact(record, key):
    value = getattr(record, key)
    return list(value) if isinstance(value, tuple) else value


def test_a_set_is_the_module_of_its_name():
    modules = {path.stem for path in Path(sets.__file__).parent.glob("[!_]*.py")}
    assert modules == set(SETS) and all(name == described.name for name, described in SETS.items())
    assert all(set(described.lists) <= set(described.parts) for described in SETS.values())


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, facts in SETS.items() for part in facts.parts])
def test_official_files_give_the_right_records(made, name, part):
    records, _ = read(made.root, name, part)
    expected = made.expected[f"{name}/{part}"]
    assert [{key: fact(record, key) for key in FACTS} for record in records] == [
        {key: list(row[key]) if key == "answers" else row[key] for key in FACTS} for row in expected
    ]
    assert {(r.dataset, r.kind, r.shift) for r in records} == {(name, SETS[name].kind, SETS[name].shift)}
    assert len({record.id for record in records}) == len(records)
    assert {record.image for record in records if not (made.root / record.image).is_file()} == set()


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, facts in SETS.items() for part in facts.lists])
def test_the_authors_lists_give_the_same_questions_in_their_order(made, name, part):
    file = made.root / name / SETS[name].lists[part]
    records, problems = read(made.root, name, part, source="lists")
    official = {(r.question_id, r.image, r.question): r for r in read(made.root, name, part)[0]}
    assert [(r.question_id, r.question) for r in records] == [
        (str(entry["question_id"]), entry["question"]) for entry in json.loads(file.read_text())
    ]
    assert "duplicate id (the first is kept)" not in problems.counts
    for record in records:
        twin = official[record.question_id, record.image, record.question]
        for key in ("answers", "picture", "origin", "rephrasing_of", "image_id", "name"):
            assert getattr(record, key) == getattr(twin, key)
        assert record.answer_type is record.question_type is None


def test_edits_share_their_question_and_are_told_apart(made):
    for name in ("iv_vqa", "cv_vqa"):
        records, problems = read(made.root, name)
        assert len({record.question_id for record in records}) < len(records) == len({record.id for record in records})
        assert not problems
        assert all(record.id == f"{record.question_id}/{record.image_id}" for record in records)


def test_counting_edits_take_the_ten_answers_not_the_stale_one(made):
    annotations = json.loads((made.root / "cv_vqa" / "v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    records, _ = read(made.root, "cv_vqa")
    for record, annotation in zip(records, annotations, strict=True):
        assert int(record.target) == int(annotation["multiple_choice_answer"]) - 1


def test_cp_takes_pictures_of_both_folders(made):
    records, _ = read(made.root, "vqa_cp")
    assert {record.image.split("/")[2] for record in records} == {"train2014", "val2014"}


def test_advqa_says_val2017_and_means_val2014(made):
    path = made.root / "advqa" / "v1_OpenEnded_mscoco_val2017_advqa_questions.json"
    assert "2017" in json.loads(path.read_text())["data_subtype"]
    records, _ = read(made.root, "advqa")
    assert {record.image.split("/")[2] for record in records} == {"val2014"}
    assert {record.question_type for record in records} == {None}


def test_rephrasings_with_anothers_id_are_kept_apart_and_odd_questions_counted(made):
    records, problems = read(made.root, "vqa_rephrasings")
    numbers = [record.question_id for record in records]
    assert len(set(numbers)) < len(numbers)
    assert problems.counts["empty question"] == 2 and problems.counts["question that ends in /"] == 1
    assert "duplicate id (the first is kept)" not in problems.counts
    groups = {}
    for record in records:
        groups.setdefault(record.origin, []).append(record)
    assert {len(group) for group in groups.values()} >= {4, 5}


def test_textvqa_pictures_of_validation_lie_with_the_training_ones_and_are_turned_on_request(made):
    plain, _ = read(made.root, "textvqa")
    turned, _ = read(made.root, "textvqa", upright=True)
    assert {record.image.split("/")[2] for record in plain} == {"train_images"}
    assert {record.rotation for record in plain} == {0}
    one = next(record for record in turned if record.rotation == 90)
    before, _ = Questions(made.root, [next(r for r in plain if r.id == one.id)])[0]
    after, _ = Questions(made.root, [one])[0]
    assert after.size == before.size[::-1]
    assert after.tobytes() == before.transpose(Image.Transpose.ROTATE_90).tobytes()  # counterclockwise


def test_vizwiz_answers_are_told_apart_by_confidence_alone(made):
    records, _ = read(made.root, "vizwiz")
    assert [record.question_id for record in records] == [str(place) for place in range(len(records))]
    assert [record.id for record in records] == [record.image_id for record in records]
    assert all(record.answer_keys is not None and max(record.answer_keys) <= 2 for record in records)
    assert all(record.answer_keys is None for record in read(made.root, "vqav2", "val")[0])


def test_okvqa_has_stemmed_and_typed_answers(made):
    records, _ = read(made.root, "ok_vqa")
    assert all(len(record.raw_answers) == len(record.answers) == 10 for record in records)
    assert any(record.raw_answers != record.answers for record in records)


def test_ce_is_three_parts_of_validation(made):
    parts = [{r.id for r in read(made.root, "vqa_ce", part)[0]} for part in SETS["vqa_ce"].parts]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(read(made.root, "vqav2", "val")[0])


def test_keys_of_answers():
    assert answer_keys([{"answer": "a", "answer_id": 1}, {"answer": "a", "answer_id": 2}]) is None
    assert answer_keys(["a", "a"]) is None
    assert answer_keys([{"answer": "a"}, {"answer": "b"}]) == (0, 0)
    assert answer_keys([{"answer": "a", "answer_confidence": c} for c in ("yes", "no", "yes")]) == (0, 1, 0)
