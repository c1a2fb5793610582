"""minivqa's folder: made once, checked, and what happens to a damaged or half-written one."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.mini import vqa
from digrap.data.mini.vqa import folder as folders
from digrap.data.mini.vqa.folder import RECIPE, SUMS, made
from tests.data.minivqa import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("minivqa"), 0, TINY)


@pytest.fixture
def own(folder, tmp_path):
    shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / folder.name


def splits():
    return OmegaConf.to_container(OmegaConf.load(REPO / "configs" / "dataset" / "minivqa.yaml").dataset.splits)


def test_two_builds_are_equal_byte_for_byte(folder, tmp_path):
    other = made(tmp_path, 0, TINY)
    assert other.name == folder.name and (other / SUMS).read_bytes() == (folder / SUMS).read_bytes()
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(other) for path in other.rglob("*") if path.is_file()} == set(names)
    assert all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_the_checksums_are_those_of_sha256sum(folder):
    run = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_whole_folder_is_not_made_again(own, monkeypatch):
    monkeypatch.setattr(folders, "FileLock", None)  # nothing is written: the folder may be read-only
    (own / "my notes.txt").write_text("kept")
    assert made(own.parent, 0, TINY) == own


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
    assert made(own.parent, 0, TINY) == own
    aside = own.with_name(f"{own.name}.damaged1")
    assert (aside / "my notes.txt").read_text() == "kept" and str(aside) in caplog.text
    assert (own / SUMS).read_bytes() == (folder / SUMS).read_bytes()
    made(own.parent, 0, TINY)
    assert not own.with_name(f"{own.name}.damaged2").exists()


def test_a_half_written_folder_is_made_anew(folder, tmp_path):
    half = tmp_path / f".{folder.name}.part"
    shutil.copytree(folder / "vqav2", half / "vqav2")
    (half / "left over.json").write_text("{}")
    other = made(tmp_path, 0, TINY)
    assert not half.exists() and not (other / "left over.json").exists()
    assert (other / SUMS).read_bytes() == (folder / SUMS).read_bytes()


def test_of_two_processes_one_makes_the_folder(tmp_path, monkeypatch):
    calls, make = [], folders._make
    monkeypatch.setattr(folders, "_make", lambda *given: (calls.append(given), make(*given)))
    with ThreadPoolExecutor(2) as pool:  # the lock is on the open file: threads exclude each other as processes do
        first, second = pool.map(lambda _: made(tmp_path, 0, TINY), range(2))
    assert first == second and len(calls) == 1


def test_other_sizes_have_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_make", lambda folder, *_: None)
    names = [made(tmp_path, 7, sizes).name for sizes in (TINY, folders.Sizes(), folders.Sizes(train=50))]
    assert names[1] == "seed7" and len(set(names)) == 3 and all(name.startswith("seed7-") for name in names[::2])


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DigrapError, match=r"dataset\.sizes\.trian: .* choose from train, val"):
        vqa.build(tmp_path, 0, splits(), {"trian": 100})
    with pytest.raises(DigrapError, match=r"dataset\.sizes\.val=3: give a whole number from 40 to 20000"):
        vqa.build(tmp_path, 0, splits(), {"val": 3})
    with pytest.raises(DigrapError, match=r"dataset\.seed=-1"):
        vqa.build(tmp_path, -1, splits())
    (tmp_path / "file").write_text("")
    with pytest.raises(DigrapError, match=r"cannot be written .*; give another data_root="):
        vqa.build(tmp_path / "file" / "minivqa", 0, splits(), asdict(TINY))
