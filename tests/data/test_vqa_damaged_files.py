"""The VQA readers against files that are missing or spoilt: faults are named and counted, or end in one message."""

import json
import re
import shutil

import pytest

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.pictures import with_pictures
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets.textvqa import ROTATIONS
from digrap.data.vqa.sets.vqa_rephrasings import QUESTIONS as REPHRASINGS
from digrap.engine.build import build_data
from digrap.metrics.vqa.answers import NO_TEXTS
from tests.data.make_vqa import make
from tests.data.test_vqa_readers import read

QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


@pytest.fixture
def own(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made.data_root, tmp_path / "data")
    return tmp_path / "data" / "vqa"


def edit(path, change):
    data = json.loads(path.read_text())
    data = change(data) or data
    path.write_text(json.dumps(data))


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
        assert "write or download it again" not in str(caught.value) and "; save" not in str(caught.value)  # one advice


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
    return "answer that is a number (taken as text)", 0


def object_for_answer(root):
    edit(root / "vqav2" / ANNOTATIONS, lambda data: data["annotations"][0]["answers"][0].update(answer=["red"]))
    return NO_TEXTS, 1


def odd_image_id(root):
    for name, key in ((QUESTIONS, "questions"), (ANNOTATIONS, "annotations")):
        edit(root / "vqav2" / name, lambda data, key=key: data[key][0].update(image_id="x"))
    return "image id that is not a number (left out)", 1


def question_that_is_none(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"][0].update(question=None))
    return "empty question", 0


def no_id(root):
    edit(root / "vqav2" / QUESTIONS, lambda data: data["questions"][0].update(question_id=None))
    return "question_id that is neither a whole number nor text (left out)", 1


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
    object_for_answer,
    odd_image_id,
]


def test_a_root_that_no_download_fills_is_said(own):
    frames = own.rename(own.with_name("my frames"))
    move = f" fetches it (to {own}: move what comes there to {frames}) or says where"
    (frames / "vqav2" / QUESTIONS).write_bytes(b"[")
    with pytest.raises(DigrapError) as caught:
        read(frames, "vqav2", "val")
    assert move in str(caught.value)
    for name in ("advqa", "vizwiz"):
        shutil.rmtree(frames / name)
        with pytest.raises(DigrapError) as caught:
            build_data(compose(["dataset=vqav2", f"dataset.root='{frames}'"]))
        assert move.replace("it (", "them (", 1) in str(caught.value)


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
    assert read(own, "vqav2", "val")[1].counts == {"image id that is not a number (left out)": 1}


@pytest.mark.parametrize("text", ["null", "3", "[null]", "[[1]]", '{"a": 1}'])
def test_lists_of_numbers_that_are_none(own, text):
    (own / "vqa_ce" / "hard.json").write_text(text)
    with pytest.raises(DigrapError, match="hard.json is not a list of question ids"):
        read(own, "vqa_ce")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"ImageID,Angle\n", "no columns"), (b"ImageID,Rotation\n\xff,90\n", "not a table in UTF-8"),
     (b"ImageID,Rotation\n{id},inf\n", "is not a number"), (b"ImageID,Rotation\n{id},45.0\n", "not a quarter turn"),
     (b"ImageID,Rotation\n" + b"x" * 200_000 + b",1\n", "not a table")],
)  # fmt: skip
def test_tables_of_rotations_that_are_none(own, data, words):
    image = read(own, "textvqa")[0][0].image_id.encode()
    (own / "textvqa" / ROTATIONS).write_bytes(data.replace(b"{id}", image))
    with pytest.raises(DigrapError, match=words):
        read(own, "textvqa", upright=True)


def test_the_authors_list_alone_does_not_say_what_rephrases_what(own):
    (own / "vqa_rephrasings" / REPHRASINGS).unlink()
    records, problems = read(own, "vqa_rephrasings", source="lists")
    assert {record.origin for record in records} == {None} and len({record.id for record in records}) == len(records)
    assert any("leakage by id cannot be seen" in kind for kind in problems.counts)


def test_missing_pictures_are_counted_and_their_questions_with_them(own):
    records, problems = read(own, "vqav2", "val")
    (own / records[0].image).unlink()
    lost = sum(record.image == records[0].image for record in records)
    kept = with_pictures(own, records, problems, "fix it")
    assert len(kept) == len(records) - lost
    assert problems.counts["missing picture"] == 1
    assert problems.counts["question whose picture is missing (left out)"] == lost
    shutil.rmtree(own / "images")
    with pytest.raises(DigrapError, match="all of the .* pictures are missing; fix it"):
        with_pictures(own, records, Problems(), "fix it")


def test_unknown_names(made):
    with pytest.raises(DigrapError, match="no part 'dev'"):
        read_set(made.root, "vqav2", "dev", Problems())
    with pytest.raises(DigrapError, match="no VQA set 'gqa'"):
        read_set(made.root, "gqa", "val", Problems())
    with pytest.raises(DigrapError, match="source=mine"):
        read_set(made.root, "vqav2", "val", Problems(), source="mine")
    with pytest.raises(DigrapError, match="no list of vqa_cp train"):
        read_set(made.root, "vqa_cp", "train", Problems(), source="lists")
