"""minivqa's files in the official formats, as the readers of the real sets read them; its pictures."""

import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from digrap.core.paths import REPO
from digrap.core.problems import Problems
from digrap.data.mini import vqa
from digrap.data.mini.vqa.folder import made, sets_of
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS
from digrap.metrics.vqa.accuracy import accuracies
from tests.data.minivqa import SMALL

CELL, BLOCK = 24, 8  # pixels: the sides of a cell, and of the blocks that JPEG compresses


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("minivqa")


@pytest.fixture(scope="module")
def folder(root):
    return made(root, 0, SMALL)


@pytest.fixture(scope="module")
def rows():
    return sets_of(0, SMALL)


def splits():
    return OmegaConf.to_container(OmegaConf.load(REPO / "configs" / "dataset" / "minivqa.yaml").dataset.splits)


def read(folder, name, part=None):
    return read_set(folder, name, part or SETS[name].scored_part, Problems(strict=True))


def picture(folder, file):
    return np.asarray(Image.open(folder / file).convert("RGB")).astype(int)


def test_the_real_readers_read_every_set_without_a_remark(folder, root):
    data = vqa.build(root, 0, splits(), asdict(SMALL))  # strict: a remark is an error
    loaded = {name: split.load() for name, split in data.splits.items()}
    assert [len(loaded[name]) for name in ("vqav2_train", "vqav2_val", "vqav2")] == [600, 200, 200]
    assert not set(loaded["vqav2"].ids) & set(loaded["vqav2_val"].ids)
    about = data.about()
    assert about["problems"] == {} and len(about["leaks"]) == 11
    for counts in about["leaks"].values():
        assert counts["questions_leaked"] == counts["pictures_leaked"] == counts["left_out"] == 0
    for name, split in data.splits.items():
        image, question = loaded[name][0]
        assert image.size == (48, 48) and len(question.answers) == 10 and split.dataset == "minivqa"
    assert (data.protocol, data.caveats) == ("clean", ())


@pytest.mark.parametrize("name", SETS)
def test_records_are_the_rows(folder, rows, name):
    sets, listed = rows
    wanted = sets["vqav2_val"] if name in ("vqav2", "vqa_ce") else sets[name]
    if name == "vqa_ce":
        wanted = [row for row in wanted if row.number in listed["counterexamples"]]
    records = read(folder, name)
    assert [(r.question_id, r.image, r.question, r.answers) for r in records] == [
        (str(row.number), row.picture.file, row.text, row.answers) for row in wanted
    ]
    assert len({record.id for record in records}) == len(records)


def test_types_confidences_and_ids_are_those_of_the_real_files(folder):
    kinds = {name: {(r.question_type, r.answer_type) for r in read(folder, name)} for name in SETS}
    assert kinds["vqav2"] == {
        ("how many", "number"), ("what color is the", "other"), ("is there a", "yes/no"), ("is the", "other"),
        ("what is", "other"),
    }  # fmt: skip
    assert kinds["advqa"] == {(None, "yes/no"), (None, "number"), (None, "other")}
    assert kinds["textvqa"] == {(None, None)}
    assert {kind for _, kind in kinds["vizwiz"]} == {"yes/no", "number", "other", "unanswerable"}
    assert {kind for _, kind in kinds["ok_vqa"]} == {"other"} and len(kinds["ok_vqa"]) == 8
    assert all(record.raw_answers == record.answers for record in read(folder, "ok_vqa"))
    assert all(r.rephrasing_of or r.origin == r.question_id for r in read(folder, "vqa_rephrasings"))
    assert Counter(bool(r.rephrasing_of) for r in read(folder, "vqa_rephrasings")) == {True: 60, False: 20}


def test_cv_keeps_the_stale_count_and_vizwiz_says_what_can_be_answered(folder):
    stale = json.loads((folder / "cv_vqa" / "v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    for entry, record in zip(stale, read(folder, "cv_vqa"), strict=True):
        assert int(entry["multiple_choice_answer"]) == int(record.target) + 1
    for entry in json.loads((folder / "vizwiz" / "val.json").read_text()):
        assert set(entry) == {"image", "question", "answers", "answer_type", "answerable"}
        assert entry["answerable"] == (entry["answer_type"] != "unanswerable")
        assert all(set(answer) == {"answer", "answer_confidence"} for answer in entry["answers"])


@pytest.mark.parametrize("name", ["iv_vqa", "cv_vqa"])
def test_an_edit_changes_its_cell_of_the_picture_and_nothing_else(folder, rows, name):
    val = {row.number: row for row in rows[0]["vqav2_val"]}
    for row in rows[0][name]:
        before, now = val[row.number].picture, row.picture
        (cell,) = [cell for cell in range(4) if before.scene.objects[cell] != now.scene.objects[cell]]
        top, left = CELL * (cell // 2), CELL * (cell % 2)
        moved = np.abs(picture(folder, before.file) - picture(folder, now.file)).max(2)
        assert moved[top : top + CELL, left : left + CELL].max() > 40
        # An object shows up to 3 pixels around its cell, which moves the blocks there.
        moved[max(top - BLOCK, 0) : top + CELL + BLOCK, max(left - BLOCK, 0) : left + CELL + BLOCK] = 0
        assert not moved.any()


def test_right_answers_score_one_and_slips_less(folder):
    wanted = {1: 0.3, 2: 0.6, 3: 0.9, 10: 1.0}
    for name in SETS:
        records = read(folder, name)
        answers = [record.answers for record in records]
        assert (accuracies([record.target for record in records], answers, "official2021") == 1).all()
        slips = [min(given, key=given.count) for given in answers]
        counts = [given.count(slip) for given, slip in zip(answers, slips, strict=True)]
        assert accuracies(slips, answers, "official2021") == pytest.approx([wanted[count] for count in counts])
    agreed = Counter(max(map(record.answers.count, record.answers)) for record in read(folder, "vqav2", "train"))
    assert set(agreed) == {7, 8, 9, 10} and agreed[10] / SMALL.train == pytest.approx(0.6, abs=0.06)
