"""The readers against generated files in the official formats, and against files that are spoilt."""

import json
import re
import shutil

import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.facts import SETS
from digrap.data.vqa.others import ROTATIONS
from digrap.data.vqa.pictures import Questions, with_pictures
from digrap.data.vqa.sets import READERS, read_set
from digrap.data.vqa.vqav2 import REPHRASINGS
from digrap.metrics.vqa.annotations import answer_keys
from tests.data.make_vqa import make

FACTS = (
    "official_id", "image", "question", "answers", "answer_type", "question_type", "image_id", "origin",
    "rephrasing_of", "picture",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


@pytest.fixture
def own(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made.data_root, tmp_path / "data")
    return tmp_path / "data" / "vqa"


def read(root, name, part=None, **options):
    problems = Problems()
    return read_set(root, name, part or SETS[name].parts[-1], problems, **options), problems


def fact(record, key):
    value = getattr(record, key)
    return list(value) if isinstance(value, tuple) else value


def edit(path, change):
    data = json.loads(path.read_text())
    data = change(data) or data
    path.write_text(json.dumps(data))


def test_every_set_has_a_reader():
    assert set(READERS) == set(SETS)


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
    official = {(r.official_id, r.image, r.question): r for r in read(made.root, name, part)[0]}
    assert [(r.official_id, r.question) for r in records] == [
        (str(entry["question_id"]), entry["question"]) for entry in json.loads(file.read_text())
    ]
    assert "duplicate id (the first is kept)" not in problems.counts
    for record in records:
        twin = official[record.official_id, record.image, record.question]
        for key in ("answers", "picture", "origin", "rephrasing_of", "image_id", "alias"):
            assert getattr(record, key) == getattr(twin, key)
        assert record.answer_type == record.question_type == ""


def test_edits_share_their_question_and_are_told_apart(made):
    for name in ("iv_vqa", "cv_vqa"):
        records, problems = read(made.root, name)
        assert len({record.official_id for record in records}) < len(records) == len({record.id for record in records})
        assert not problems
        assert all(record.id == f"{record.official_id}/{record.image_id}" for record in records)


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
    assert {record.question_type for record in records} == {""}


def test_rephrasings_with_anothers_id_are_kept_apart_and_odd_questions_counted(made):
    records, problems = read(made.root, "vqa_rephrasings")
    numbers = [record.official_id for record in records]
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
    assert [record.id for record in records] == [str(place) for place in range(len(records))]
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


QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"


@pytest.mark.parametrize("spoil", ["truncated", "latin", "missing", "other", "twice"])
def test_a_file_that_is_none_ends_in_one_message(own, spoil):
    path = own / "vqav2" / QUESTIONS
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif spoil == "latin":
        path.write_bytes(path.read_bytes().replace(b"color", b"colo\xff", 1))
    elif spoil == "missing":
        path.unlink()
    elif spoil == "other":
        path.write_text('{"annotations": []}')
    else:
        for folder in ("a", "b"):
            (path.parent / folder).mkdir()
            shutil.copy(path, path.parent / folder / path.name)
        path.unlink()
    words = {"truncated": "cut off", "latin": "not UTF-8", "missing": "missing", "other": "no", "twice": "2 times"}
    with pytest.raises(DigrapError, match=words[spoil]) as caught:
        read(own, "vqav2", "val")
    assert path.name in str(caught.value)
    if spoil not in ("other", "twice"):
        assert "scripts/download.py dataset=vqav2" in str(caught.value)


def test_files_are_found_where_an_archive_unpacked_them(own):
    before, _ = read(own, "iv_vqa")
    deep = own / "iv_vqa" / "BS" / "mini_datasets_qa" / "0.1_0.1"
    deep.mkdir(parents=True)
    for name in (QUESTIONS, ANNOTATIONS):
        (own / "iv_vqa" / name).rename(deep / name)
    assert read(own, "iv_vqa")[0] == before


def lose_annotation(root):
    edit(root / "vqav2" / ANNOTATIONS, lambda data: data["annotations"].pop(3) and None)
    return "question without annotation (left out)", 1


def lose_question(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"].pop(3) and None)
    return "annotation without question (left out)", 1


def repeat(root):
    for name, key in ((QUESTIONS, "questions"), (ANNOTATIONS, "annotations")):
        edit(root / "vqav2" / name, lambda data, key=key: data[key].insert(5, data[key][2]))
    return "duplicate id (the first is kept)", 0


def lose_key(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"][0].pop("question") and None)
    return "entry that lacks a key (left out)", 1


def lose_answers(root):
    edit(root / "vqav2" / ANNOTATIONS, lambda data: data["annotations"][0].update(answers=[]))
    return "question without answers (left out)", 1


def nine_answers(root):
    edit(root / "vqav2" / ANNOTATIONS, lambda data: data["annotations"][0]["answers"].pop() and None)
    return "not ten answers", 0


def number_for_answer(root):
    edit(root / "vqav2" / ANNOTATIONS, lambda data: data["annotations"][0]["answers"][0].update(answer=3))
    return "answer that is no text", 0


def odd_image_id(root):
    for name, key in ((QUESTIONS, "questions"), (ANNOTATIONS, "annotations")):
        edit(root / "vqav2" / name, lambda data, key=key: data[key][0].update(image_id="x"))
    return "image id that is no number (left out)", 1


def question_that_is_none(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"][0].update(question=None))
    return "empty question", 0


def no_id(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"][0].update(question_id=None))
    return "question_id that is neither number nor text (left out)", 1


FAULTS = [
    question_that_is_none,
    no_id,
    lose_annotation,
    lose_question,
    repeat,
    lose_key,
    lose_answers,
    nine_answers,
    number_for_answer,
    odd_image_id,
]


@pytest.mark.parametrize("spoil", FAULTS)
def test_faults_are_named_and_counted_or_end_it_where_strict(own, spoil):
    whole = len(read(own, "vqav2", "val")[0])
    kind, lost = spoil(own)
    records, problems = read(own, "vqav2", "val")
    assert problems.counts[kind] == 1 and len(records) == whole - lost
    assert problems.summary()[kind]["first"][0]
    with pytest.raises(DigrapError, match=re.escape(kind)):
        read_set(own, "vqav2", "val", Problems(strict=True))


@pytest.mark.parametrize("number", [1.5, True, -3, float("inf"), "1_0", [1], None, 10**13, "²"])
def test_what_is_no_number_is_no_picture(own, number):
    for name, key in ((QUESTIONS, "questions"), (ANNOTATIONS, "annotations")):
        edit(own / "vqav2" / name, lambda data, key=key: data[key][0].update(image_id=number))
    assert read(own, "vqav2", "val")[1].counts == {"image id that is no number (left out)": 1}


@pytest.mark.parametrize("text", ["null", "3", "[null]", "[[1]]", '{"a": 1}'])
def test_lists_of_numbers_that_are_none(own, text):
    (own / "vqa_ce" / "hard.json").write_text(text)
    with pytest.raises(DigrapError, match="hard.json is no list of question ids"):
        read(own, "vqa_ce")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"ImageID,Angle\n", "no columns"), (b"ImageID,Rotation\n\xff,90\n", "no table in UTF-8"),
     (b"ImageID,Rotation\n{id},inf\n", "is no number"), (b"ImageID,Rotation\n{id},45.0\n", "no quarter turn"),
     (b"ImageID,Rotation\n" + b"x" * 200_000 + b",1\n", "no table")],
)  # fmt: skip
def test_tables_of_rotations_that_are_none(own, data, words):
    image = read(own, "textvqa")[0][0].image_id.encode()
    (own / "textvqa" / ROTATIONS).write_bytes(data.replace(b"{id}", image))
    with pytest.raises(DigrapError, match=words):
        read(own, "textvqa", upright=True)


def test_the_authors_list_alone_does_not_say_what_rephrases_what(own):
    (own / "vqa_rephrasings" / REPHRASINGS).unlink()
    records, problems = read(own, "vqa_rephrasings", source="lists")
    assert {record.origin for record in records} == {""} and len({record.id for record in records}) == len(records)
    assert any("leaks by id are not seen" in kind for kind in problems.counts)


def test_missing_pictures_are_counted_and_their_questions_with_them(own):
    records, problems = read(own, "vqav2", "val")
    (own / records[0].image).unlink()
    lost = sum(record.image == records[0].image for record in records)
    kept = with_pictures(own, records, problems, "mend")
    assert len(kept) == len(records) - lost
    assert problems.counts["missing picture"] == 1
    assert problems.counts["question left out for want of its picture"] == lost
    shutil.rmtree(own / "images")
    with pytest.raises(DigrapError, match="none of the .* pictures is there; mend"):
        with_pictures(own, records, Problems(), "mend")


def test_unknown_names(made):
    with pytest.raises(DigrapError, match="no part 'dev'"):
        read_set(made.root, "vqav2", "dev", Problems())
    with pytest.raises(DigrapError, match="no VQA set 'gqa'"):
        read_set(made.root, "gqa", "val", Problems())
    with pytest.raises(DigrapError, match="source=mine"):
        read_set(made.root, "vqav2", "val", Problems(), source="mine")
    with pytest.raises(DigrapError, match="no list of vqa_cp train"):
        read_set(made.root, "vqa_cp", "train", Problems(), source="lists")
