"""The small VQA sets against the official files' forms: heads, ids, order, list files, and the spoiling of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.data.make_vqa import Made, drop_annotation, duplicate, make, not_utf8, remove_image, truncate

FACT = {
    "question_id", "image", "question", "answers", "answer_type", "question_type", "image_id", "origin",
    "rephrasing_of", "picture",
}  # fmt: skip
PAIRS = {
    "vqav2/train": ("v2_OpenEnded_mscoco_train2014_questions", "v2_mscoco_train2014_annotations"),
    "vqav2/val": ("v2_OpenEnded_mscoco_val2014_questions", "v2_mscoco_val2014_annotations"),
    "iv_vqa/val": ("v2_OpenEnded_mscoco_val2014_questions", "v2_mscoco_val2014_annotations"),
    "cv_vqa/val": ("v2_OpenEnded_mscoco_val2014_questions", "v2_mscoco_val2014_annotations"),
    "vqa_rephrasings/val": (
        "v2_OpenEnded_mscoco_valrep2014_humans_og_questions",
        "v2_mscoco_valrep2014_humans_og_annotations",
    ),
    "vqa_cp/train": ("vqacp_v2_train_questions", "vqacp_v2_train_annotations"),
    "vqa_cp/test": ("vqacp_v2_test_questions", "vqacp_v2_test_annotations"),
    "advqa/val": ("v1_OpenEnded_mscoco_val2017_advqa_questions", "v1_mscoco_val2017_advqa_annotations"),
    "ok_vqa/train": ("OpenEnded_mscoco_train2014_questions", "mscoco_train2014_annotations"),
    "ok_vqa/val": ("OpenEnded_mscoco_val2014_questions", "mscoco_val2014_annotations"),
}
LISTS = {
    "vqav2/train": "vqav2/vqa_train.json",
    "vqav2/val": "vqav2/vqa_val.json",
    "vqa_ce/counterexamples": "vqa_ce/combined_data_subset.json",
} | {
    f"{name}/{part}": f"{name}/combined_data.json"
    for name, part in (
        ("iv_vqa", "val"), ("cv_vqa", "val"), ("vqa_rephrasings", "val"), ("vqa_cp", "test"), ("advqa", "val"),
        ("textvqa", "val"), ("vizwiz", "val"), ("ok_vqa", "val"),
    )
}  # fmt: skip
BARE = {"textvqa/train", "textvqa/val", "vizwiz/train", "vizwiz/val"}  # one file a part, not two
CE = {"vqa_ce/counterexamples", "vqa_ce/hard", "vqa_ce/easy"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("vqa"))


def read(made: Made, name: str):
    return json.loads((made.root / name).read_text("utf-8"))


def pair(made: Made, key: str) -> tuple[list[dict], list[dict]]:
    folder = key.split("/")[0]
    questions, annotations = (read(made, f"{folder}/{name}.json") for name in PAIRS[key])
    if folder == "vqa_cp":
        return questions, annotations
    return questions["questions"], annotations["annotations"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_part_is_there_and_every_picture_opens(made):
    assert set(made.expected) == set(PAIRS) | BARE | CE
    assert made.root == made.data_root / "vqa"
    opened = set()
    for facts in made.expected.values():
        assert facts
        for fact in facts:
            assert set(fact) >= FACT
            assert len(fact["answers"]) == 10
            opened.add(fact["image"])
    for name in opened:
        with Image.open(made.root / name) as image:
            image.load()
            assert sorted(image.size) == [40, 48]
    assert len(list((made.root / "images/coco/train2014").iterdir())) == 60
    assert len(list((made.root / "images/coco/val2014").iterdir())) == 40


@pytest.mark.parametrize("key", PAIRS)
def test_annotations_follow_the_questions_and_the_facts_both(made, key):
    questions, annotations = pair(made, key)
    facts = made.expected[key]
    assert len(questions) == len(annotations) == len(facts)
    for question, annotation, fact in zip(questions, annotations, facts, strict=True):
        assert question["question_id"] == annotation["question_id"] == int(fact["question_id"])
        assert question["image_id"] == annotation["image_id"]
        assert (str(question["image_id"]), question["question"]) == (fact["image_id"], fact["question"])
        assert [answer["answer"] for answer in annotation["answers"]] == fact["answers"]
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
        for kind in ("answer_type", "question_type"):
            assert annotation.get(kind) == fact[kind]
        picture = str(question["image_id"]).split("_")[0]
        assert fact["picture"] == f"coco:{int(picture)}"


@pytest.mark.parametrize("key", ["vqav2/train", "vqav2/val", "ok_vqa/train", "ok_vqa/val", "vqa_rephrasings/val"])
def test_official_files_have_a_head(made, key):
    questions, annotations = (read(made, f"{key.split('/')[0]}/{name}.json") for name in PAIRS[key])
    head = {"info", "data_type", "data_subtype", "license"}
    assert set(questions) == head | {"task_type", "questions"}
    assert set(annotations) == head | {"annotations"}
    assert questions["data_subtype"] == f"{key.split('/')[1]}2014"


@pytest.mark.parametrize("key", LISTS)
def test_list_files_are_the_same_in_another_order(made, key):
    entries, facts = read(made, LISTS[key]), made.expected[key]
    assert len(entries) == len(facts) - (key == "vqav2/train")
    folder = "/".join(facts[0]["image"].split("/")[:2])
    as_listed = [
        {
            "question_id": int(fact["question_id"]), "question": fact["question"], "answer": fact["answers"],
            "image": fact["image"].removeprefix(f"{folder}/"), "dataset": "vqa",
        }
        for fact in facts
    ]  # fmt: skip
    assert all(entry in as_listed for entry in entries)
    assert entries != [entry for entry in as_listed if entry in entries]


def test_the_same_seed_writes_the_same(tmp_path, made):
    assert tree(make(tmp_path / "again").data_root) == tree(made.data_root)
    assert make(tmp_path / "other", seed=1).expected != made.expected


def test_scale(tmp_path, made):
    large = make(tmp_path, scale=3)
    assert len(large.expected["vqav2/val"]) == 3 * len(made.expected["vqav2/val"])
    assert len(large.expected["vizwiz/val"]) == 3 * len(made.expected["vizwiz/val"])
    for facts in large.expected.values():
        assert all((large.root / fact["image"]).is_file() for fact in facts)


def test_spoiling(tmp_path):
    made = make(tmp_path)
    path = made.root / "vqav2/v2_mscoco_val2014_annotations.json"
    drop_annotation(path, 3)
    left = json.loads(path.read_text("utf-8"))["annotations"]
    numbers = [fact["question_id"] for fact in made.expected["vqav2/val"]]
    assert [str(one["question_id"]) for one in left] == numbers[:3] + numbers[4:]
    bare = made.root / "vizwiz/val.json"
    duplicate(bare, 2)
    entries = json.loads(bare.read_text("utf-8"))
    assert entries[2] == entries[3] != entries[4] and len(entries) == len(made.expected["vizwiz/val"]) + 1
    not_utf8(path)
    with pytest.raises(UnicodeDecodeError):
        path.read_text("utf-8")
    json.loads(path.read_text("latin-1"))
    truncate(bare)
    with pytest.raises(json.JSONDecodeError):
        json.loads(bare.read_bytes().decode("utf-8", "ignore"))
    gone = remove_image(made, "textvqa/val")
    assert not gone.exists() and gone.parent.name == "train_images"
