"""minivqa's folder: official files, the real readers, pictures, and what happens to a damaged or half-written one."""

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.core.problems import Problems
from digrap.data.mini import vqa
from digrap.data.mini.vqa import folder as folders
from digrap.data.mini.vqa.folder import RECIPE, SUMS, made, sets_of
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS
from digrap.metrics.vqa.accuracy import accuracies
from tests.data.minivqa import SMALL

CELL, REACH = 24, 3  # pixels: a cell's side, and how far around it an object shows


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("minivqa")


@pytest.fixture(scope="module")
def folder(root):
    return made(root, 0, SMALL)


@pytest.fixture
def own(folder, tmp_path):
    shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / folder.name


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
        # JPEG compresses blocks of 8 pixels: what shows 3 pixels around a cell moves the blocks there.
        moved[max(top - 8, 0) : top + CELL + 8, max(left - 8, 0) : left + CELL + 8] = 0
        assert not moved.any()


def test_right_answers_score_one_and_slips_less(folder):
    for name in SETS:
        records = read(folder, name)
        answers = [record.answers for record in records]
        assert (accuracies([record.target for record in records], answers, "official2021") == 1).all()
        slips = [min(answers, key=answers.count) for answers in answers]
        slipped = accuracies(slips, answers, "official2021")
        counts = [answers.count(slip) for answers, slip in zip(answers, slips, strict=True)]
        wanted = {1: 0.3, 2: 0.6, 3: 0.9, 10: 1.0}
        assert slipped == pytest.approx([wanted[count] for count in counts])
    agreed = Counter(
        max(map(answers.count, answers)) for answers in (r.answers for r in read(folder, "vqav2", "train"))
    )
    assert set(agreed) == {7, 8, 9, 10} and agreed[10] / SMALL.train == pytest.approx(0.6, abs=0.06)


def test_two_builds_are_equal_byte_for_byte(folder, tmp_path):
    other = made(tmp_path, 0, SMALL)
    assert other.name == folder.name and (other / SUMS).read_bytes() == (folder / SUMS).read_bytes()
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(other) for path in other.rglob("*") if path.is_file()} == set(names)
    assert all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_the_checksums_are_those_of_sha256sum(folder):
    run = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_whole_folder_is_not_made_again(own, monkeypatch):
    monkeypatch.setattr(folders, "_make", None)
    (own / "my notes.txt").write_text("kept")
    assert made(own.parent, 0, SMALL) == own


@pytest.mark.parametrize("damage", ["a picture", "no picture", "questions", "no sums", "recipe"])
def test_a_damaged_folder_is_said_moved_aside_and_made_again(own, folder, caplog, damage):
    image = own / "images/coco/val2014/COCO_val2014_000000200000.jpg"
    questions = own / "vqav2" / "v2_OpenEnded_mscoco_val2014_questions.json"
    match damage:
        case "a picture":
            image.write_bytes(image.read_bytes()[:-1])
        case "no picture":
            image.unlink()
        case "questions":
            questions.write_text(questions.read_text().replace("star", "cat", 1))
        case "no sums":
            (own / SUMS).unlink()
        case "recipe":
            recipe = json.loads((own / RECIPE).read_text())
            recipe["versions"]["generator"] -= 1
            (own / RECIPE).write_text(json.dumps(recipe))
    (own / "my notes.txt").write_text("kept")
    assert made(own.parent, 0, SMALL) == own
    aside = own.with_name(f"{own.name}.damaged1")
    assert (aside / "my notes.txt").read_text() == "kept" and str(aside) in caplog.text
    assert (own / SUMS).read_bytes() == (folder / SUMS).read_bytes()
    made(own.parent, 0, SMALL)
    assert not own.with_name(f"{own.name}.damaged2").exists()


def test_a_half_written_folder_is_made_anew(folder, tmp_path):
    half = tmp_path / f".{folder.name}.part"
    shutil.copytree(folder / "vqav2", half / "vqav2")
    (half / "left over.json").write_text("{}")
    other = made(tmp_path, 0, SMALL)
    assert not half.exists() and not (other / "left over.json").exists()
    assert (other / SUMS).read_bytes() == (folder / SUMS).read_bytes()


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DigrapError, match=r"dataset\.sizes\.trian: .* choose of train, val"):
        vqa.build(tmp_path, 0, splits(), {"trian": 100})
    with pytest.raises(DigrapError, match=r"dataset\.sizes\.val=3: give a whole number from 40 to 100000"):
        vqa.build(tmp_path, 0, splits(), {"val": 3})
    with pytest.raises(DigrapError, match=r"dataset\.seed=-1"):
        vqa.build(tmp_path, -1, splits())
    (tmp_path / "file").write_text("")
    with pytest.raises(DigrapError, match=r"cannot be written .*; give another data_root="):
        vqa.build(tmp_path / "file" / "minivqa", 0, splits(), asdict(SMALL))
