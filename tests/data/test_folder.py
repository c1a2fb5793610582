"""Your own pictures: what is read, what is refused, and the methods on them in one command."""

import json
import logging
import pickle
import shutil
import traceback

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.data.folder import build
from digrap.engine.run import run
from tests.doors import call

SPLITS = {
    "train": {"folder": "train", "kind": "id_train"},
    "val": {"folder": "val", "kind": "id_val"},
    "test": {"folder": "test", "kind": "id_test"},
}
COLOURS = {"apple": (200, 30, 30), "leaf": (30, 200, 30), "sky": (30, 30, 200)}


def draw(path, colour=(90, 120, 150), size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """Three classes in train, val and test; OOD sets of two and of one class; one that nobody names."""
    root = tmp_path / "pictures"
    counts = {"train": 4, "val": 2, "test": 2, "test_sketch": 2, "test_xray": 1, "test_other": 1}
    for folder, count in counts.items():
        for name in list(COLOURS)[: {"test_sketch": 2, "test_xray": 1}.get(folder, 3)]:
            for number in range(count):
                draw(root / folder / name / f"{number}.{'png' if number else 'JPG'}", COLOURS[name])
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "apple" / "._0.jpg").write_bytes(b"no picture")
    (root / "train" / "apple" / "notes.txt").write_text("no picture")
    return root


def test_splits_kinds_and_labels(root, caplog):
    with caplog.at_level(logging.INFO):
        data = build(root, SPLITS, near_ood=["sketch"], far_ood="xray")
    assert data.classes == ("apple", "leaf", "sky")
    kinds = {name: split.kind for name, split in data.splits.items()}
    assert kinds == {
        "train": "id_train", "val": "id_val", "test": "id_test", "sketch": "near_ood", "xray": "far_ood",
    }  # fmt: skip
    assert "not used: test_other; name them with dataset.near_ood=[other]" in caplog.text
    assert any(caveat.startswith("not used: test_other") for caveat in data.caveats), "said beside the scores too"
    sizes = {name: len(split.load()) for name, split in data.splits.items()}
    assert sizes == {"train": 12, "val": 6, "test": 6, "sketch": 4, "xray": 1}
    sketch = data.splits["sketch"].load()
    assert sketch.targets == [0, 0, 1, 1]
    image, label = sketch[3]
    assert image.mode == "RGB" and image.size == (40, 30) and label == 1
    assert np.abs(np.asarray(image, int) - COLOURS["leaf"]).max() < 5
    assert pickle.loads(pickle.dumps(sketch)).samples == sketch.samples  # spawned loading processes


def test_pictures_are_listed_by_load_not_by_build(root):
    split = build(root, SPLITS).splits["train"]
    draw(root / "train" / "sky" / "late.png")
    assert len(split.load()) == 13


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_named(root, workers):
    path = root / "val" / "leaf" / "0.JPG"
    path.write_bytes(path.read_bytes()[:300])
    dataset = build(root, SPLITS).splits["val"].load()
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=str)
    with pytest.raises(DigrapError) as caught:
        list(loader)
    traceback.clear_frames(caught.tb)  # else the loader waits for the garbage collector, then 5 s a worker
    text = str(caught.value)
    assert text.startswith(f"{path}: the picture cannot be read (") and text.endswith("; fix or delete the file")
    assert "Traceback" not in text and "\n" not in text


def listing(root, **options):
    data = build(root, SPLITS, **options)
    return data, {name: split.load() for name, split in data.splits.items()}


def test_what_is_left_out_is_counted_and_named_once(root, caplog):
    before = {name: (data.ids, data.targets) for name, data in listing(root)[1].items()}
    apple = root / "train" / "apple"
    for number in range(4):
        (apple / f"{number}.heic").write_bytes(b"x")
    (apple / "noending").write_bytes(b"x")
    (root / "train" / "readme.txt").write_text("not in a class")
    draw(root / "val" / "stray.png")
    caplog.clear()
    data, parts = listing(root)
    assert {name: (part.ids, part.targets) for name, part in parts.items()} == before
    assert data.about() == {"problems": {
        "train": {
            "file that ends in .heic: not a known picture format (left out)": {
                "count": 4, "first": [str(apple / f"{number}.heic") for number in range(3)],
            },
            "file that ends in nothing: not a known picture format (left out)": {
                "count": 1, "first": [str(apple / "noending")],
            },
            "file that ends in .txt: not a known picture format (left out)": {
                "count": 1, "first": [str(apple / "notes.txt")],
            },
        },
        "val": {
            "picture outside the class folders (left out)": {
                "count": 1, "first": [str(root / "val" / "stray.png")],
            },
        },
    }}  # fmt: skip
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        len(told) == 4
        and f"train: 4 × file that ends in .heic: not a known picture format (left out): {apple}" in told[0]
    )
    for split in data.splits.values():
        split.load()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 4


def test_a_folder_with_pictures_alone_has_nothing_to_say(root):
    (root / "train" / "apple" / "notes.txt").unlink()
    assert listing(root)[0].about() == {}


HIDDEN = [
    ".ipynb_checkpoints/0-checkpoint.png", ".hidden.jpg", "Thumbs.db", "desktop.ini", ".DS_Store", "._0.jpg",
    "@eaDir/0.JPG/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._0.jpg", "nested/.trash/0.png",
]  # fmt: skip


def test_hidden_files_and_those_of_systems_are_skipped_everywhere(root):
    (root / "train" / "apple" / "notes.txt").unlink()
    before = {name: (data.ids, data.targets) for name, data in listing(root)[1].items()}
    for place in ("train", "train/apple", "val/leaf"):
        for name in HIDDEN[: 8 if place == "train" else None]:
            draw(root / place / "x.png").rename(make_parent(root / place / name))
    data, parts = listing(root)
    assert {name: (part.ids, part.targets) for name, part in parts.items()} == before
    assert data.classes == ("apple", "leaf", "sky") and data.about() == {}


def make_parent(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("hidden", [".cache/pictures", "@eaDir/pictures"])
def test_the_root_itself_may_be_hidden(root, tmp_path, hidden):
    shutil.move(root, make_parent(tmp_path / hidden))
    assert len(listing(tmp_path / hidden)[1]["train"]) == 12


@pytest.mark.parametrize(
    ("ending", "form"),
    [("jfif", "JPEG"), ("JPE", "JPEG"), ("pjpeg", "JPEG"), ("jp2", "JPEG2000"), ("apng", "PNG"), ("gif", "GIF"),
     ("dib", "DIB"), ("pbm", "PPM"), ("pnm", "PPM"), ("tga", "TGA"), ("avif", "AVIF"), ("webp", "WEBP"),
     ("TIF", "TIFF"), ("bmp", "BMP")],
)  # fmt: skip
def test_endings_that_are_read(root, ending, form):
    path = root / "test" / "sky" / f"zz.{ending}"
    image = Image.new("1" if ending == "pbm" else "RGB", (20, 10), 0 if ending == "pbm" else (30, 30, 200))
    image.save(path, form)
    (test,) = [part for name, part in listing(root)[1].items() if name == "test"]
    assert test.ids[-1] == f"sky/zz.{ending}" and test.targets[-1] == 2
    picture, _ = test[len(test) - 1]
    assert picture.mode == "RGB" and picture.size == (20, 10)


def test_of_a_moving_picture_the_first_frame_is_used_and_it_is_said(root):
    path = root / "test" / "sky" / "zz.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    data, parts = listing(root)
    assert parts["test"][len(parts["test"]) - 1][0].getpixel((0, 0)) == (255, 0, 0)
    kind = "file that ends in .gif: only the first frame of an animation is used"
    assert data.about()["problems"]["test"] == {kind: {"count": 1, "first": [str(path)]}}


def test_an_error_says_which_endings_are_there(root):
    for folder in ("train", "val"):
        shutil.rmtree(root / folder / "sky")
        (root / folder / "sky").mkdir()
        (root / folder / "sky" / "0.heic").write_bytes(b"x")
    with pytest.raises(
        DigrapError, match="no pictures of sky .pictures are files that end in .*other files here: .*1 in .heic"
    ):
        listing(root)
    shutil.rmtree(root / "val" / "apple"), shutil.rmtree(root / "val" / "leaf")
    with pytest.raises(DigrapError, match="split val: no pictures in .*other files here: 1 in .heic"):
        listing(root)


def test_a_tenth_of_the_training_pictures_may_validate(root):
    splits = SPLITS | {"val": {"folder": "train", "kind": "id_val"}}
    with pytest.raises(DigrapError, match="dataset.holdout=None: val are held out .*as in dataset.holdout=0.1"):
        build(root, splits)
    data = build(root, splits, holdout=0.1)
    train, val = (data.splits[name].load() for name in ("train", "val"))
    assert np.bincount(train.targets).tolist() == [3, 3, 3] and np.bincount(val.targets).tolist() == [1, 1, 1]
    assert not set(train.ids) & set(val.ids)
    assert list(data.about()["problems"]) == ["train"]  # counted once


def test_words_for_class_folders(root, tmp_path):
    (tmp_path / "names.yaml").write_text("apple: red apple, fruit\nleaf: green leaf\nsky: blue sky\n")
    assert build(root, SPLITS, names=tmp_path / "names.yaml").classes == ("red apple", "green leaf", "blue sky")


def test_what_is_missing_is_named(root):
    with pytest.raises(DigrapError, match=r"dataset.root=.*nowhere: .*train/<class>/\*\.jpg"):
        build(root / "nowhere", SPLITS)
    with pytest.raises(DigrapError, match="test_skech is missing; nearest: test_sketch.*expected: "):
        build(root, SPLITS, near_ood=["skech"])
    (root / "val").rename(root / "valid")
    with pytest.raises(DigrapError, match="val is missing; move a tenth of each class"):
        build(root, SPLITS)
    (root / "valid").rename(root / "val")
    (root / "test").rename(root / "held_out")
    with pytest.raises(DigrapError, match="'~dataset.splits.test' runs without it"):
        build(root, SPLITS)
    assert list(build(root, {name: SPLITS[name] for name in ("train", "val")}).splits) == ["train", "val"]


def test_what_is_empty_is_named(root):
    (root / "test_none" / "apple").mkdir(parents=True)
    with pytest.raises(DigrapError, match="split none: no pictures in .*test_none/<class>/.*webp"):
        build(root, SPLITS, far_ood=["none"])
    (root / "train" / "bare").mkdir()
    with pytest.raises(DigrapError, match="train: no pictures of bare"):
        build(root, SPLITS).splits["train"].load()


def test_a_class_without_training_pictures_is_named(root):
    draw(root / "test_sketch" / "aple" / "0.png")
    with pytest.raises(DigrapError, match=r"test_sketch/aple is a class .*nearest: apple"):
        build(root, SPLITS, near_ood=["sketch"])


@pytest.mark.parametrize(
    ("splits", "options", "words"),
    [
        (SPLITS, {"near_ood": ["sketch"], "far_ood": ["sketch"]}, "dataset.far_ood: 'sketch': a split of that name"),
        (SPLITS, {"near_ood": ["val"]}, "dataset.near_ood: 'val': a split of that name"),
        (SPLITS, {"near_ood": ["../sketch"]}, "not a folder's name"),
        (SPLITS | {"more": {"folder": "test_sketch", "kind": "ood"}}, {}, "dataset.splits.more=.*near_ood"),
        ({"train": SPLITS["train"]}, {}, "0 of kind id_val; give one"),
    ],
)
def test_bad_options_are_named(root, splits, options, words):
    with pytest.raises(DigrapError, match=words):
        build(root, splits, **options)


def overrides(root):
    return [
        "dataset=folder", f"dataset.root={root}", "dataset.near_ood=[sketch]", "dataset.far_ood=[xray]",
        "backbone=timm", "backbone.model=test_resnet", "backbone.pretrained=false", "backbone.image_size=32",
        "optim=digrap", "trainer.epochs=1", "trainer.batch_size=6", "trainer.micro_batch=6", "trainer.workers=0",
        "trainer.threads=1", "device=cpu",
    ]  # fmt: skip


def kinds(folder):
    result = json.loads((folder / "results.json").read_text())
    return {name: score["kind"] for name, score in result["scores"].items()}


def test_digrap_on_your_own_pictures(root, tmp_path):
    score = run(compose(overrides(root)), tmp_path / "run")
    assert 0 <= score <= 100
    expected = {"val": "id_val", "test": "id_test", "sketch": "near_ood", "xray": "far_ood"}
    assert kinds(tmp_path / "run") == expected
    kind = "file that ends in .txt: not a known picture format (left out)"
    assert list(json.loads((tmp_path / "run" / "data.json").read_text())["problems"]["train"]) == [kind]


def test_the_command_with_loading_processes(root, tmp_path):
    command = [*overrides(root), "trainer.workers=2", f"hydra.run.dir={tmp_path / 'run'}"]
    done = call("train.py", *command)
    assert done.returncode == 0, done.stderr
    assert kinds(tmp_path / "run")["xray"] == "far_ood" and "not used: test_other" in done.stdout + done.stderr
