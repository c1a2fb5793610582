"""Broken picture files are found by their headers and ends; what was found is kept."""

import numpy as np
import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.data import headers
from digrap.data.checked import with_checked_pictures
from digrap.data.class_folders import Pictures
from digrap.data.headers import look_at
from digrap.data.images import read_picture
from digrap.data.splits import DataModule, ImageTensors, Part, Split

FORMATS = ("jpg", "png", "gif", "webp", "bmp", "tif", "ppm", "avif", "jp2", "tga")


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 48, 3), dtype=np.uint8))


def draw(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise().save(path, **options)
    return str(path)


def look(files, tmp_path):
    return look_at(map(str, files), read_picture, "test", tmp_path / "cache")


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_picture_is_fine_and_a_cut_one_is_not(tmp_path, form):
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    draw(whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    found = look([whole, cut], tmp_path)
    try:
        read_picture(cut)
    except DigrapError as error:
        assert found.broken == {str(cut): str(error)}
    else:  # a reader of this format draws what is there
        assert not found.broken


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0" + 100 * b"\0"])
def test_what_is_no_picture_is_named_with_the_reason(tmp_path, content):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    assert "cannot be read" in look([file], tmp_path).broken[str(file)]


def test_a_missing_file_and_32_bits_are_broken(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "deep.tif")
    found = look([tmp_path / "deep.tif", tmp_path / "gone.png"], tmp_path)
    assert "32-bit" in found.broken[str(tmp_path / "deep.tif")] and str(tmp_path / "gone.png") in found.broken


def test_moving_pictures_are_named(tmp_path):
    for form in ("gif", "webp", "png"):
        draw(tmp_path / f"moving.{form}", save_all=True, append_images=[noise(1)])
        draw(tmp_path / f"still.{form}")
    assert look(tmp_path.glob("*.*"), tmp_path).moving == {str(path) for path in tmp_path.glob("moving.*")}


def test_a_second_look_opens_only_what_has_changed(tmp_path, monkeypatch):
    files = [draw(tmp_path / f"{k}.png") for k in range(4)]
    (tmp_path / "1.png").write_bytes(b"broken")
    first, opened, plain = look(files, tmp_path), [], headers._look
    monkeypatch.setattr(headers, "_look", lambda name: opened.append(name) or plain(name))
    assert look(files, tmp_path) == first and list(first.broken) == [files[1]] and not opened
    noise(7).save(files[1])
    assert not look(files, tmp_path).broken and opened == [files[1]]
    assert not look([*files, draw(tmp_path / "4.png")], tmp_path).broken and opened[1:] == [str(tmp_path / "4.png")]
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("{")  # damaged: all are looked at again
    assert not look(files, tmp_path).broken and len(opened) == 6


def test_without_a_place_to_keep_it_the_next_run_looks_again(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "cache").write_text("a file")
    assert not look([draw(tmp_path / "a.png")], tmp_path).broken
    assert "the next run checks the pictures again" in caplog.text


@pytest.fixture
def data(tmp_path):
    """Two splits of two classes, of which each has one broken picture."""
    splits = {}
    for name, kind in (("train", "id_train"), ("val", "id_val")):
        for label in ("cat", "dog"):
            for k in range(3):
                draw(tmp_path / name / label / f"{k}.png")
        (tmp_path / name / "dog" / "1.png").write_bytes(b"broken")
        splits[name] = Split(name, kind, "folder", lambda name=name: Pictures(tmp_path / name, {"cat": 0, "dog": 1}))
    return DataModule(splits, ("cat", "dog"))


def test_all_broken_pictures_are_named_at_once(data, tmp_path):
    with pytest.raises(DigrapError) as error:
        with_checked_pictures(data, data.splits, skip=False, cache=tmp_path / "cache")
    text = str(error.value)
    assert text.startswith("2 pictures cannot be read") and "dataset.on_broken=skip" in text
    assert all(f"{name}: 1 of 6: {tmp_path / name / 'dog' / '1.png'}: " in text for name in data.splits)


def test_skipped_pictures_are_counted(data, tmp_path):
    checked = with_checked_pictures(data, ["val"], skip=True, cache=tmp_path / "cache")
    part = checked.splits["val"].load()
    assert part.ids == ["cat/0.png", "cat/1.png", "cat/2.png", "dog/0.png", "dog/2.png"]
    assert [label for _, label in (part[k] for k in range(5))] == part.targets == [0, 0, 0, 1, 1]
    assert checked.skipped == {"val": 1} and checked.pictures == {"val": {"files": 6, "moving": 0, "skipped": 1}}
    assert checked.caveats == ("left out because their picture cannot be read: 1 of val",)
    assert len(checked.splits["train"].load()) == 6, "not looked at"


def test_a_split_without_any_picture_left_is_refused(tmp_path):
    (tmp_path / "test" / "cat").mkdir(parents=True)
    (tmp_path / "test" / "cat" / "0.png").write_bytes(b"broken")
    split = Split("test", "id_test", "folder", lambda: Pictures(tmp_path / "test", {"cat": 0}))
    with pytest.raises(DigrapError, match="split test: none of its 1 pictures can be read"):
        with_checked_pictures(DataModule({"test": split}, ("cat",)), ["test"], skip=True, cache=tmp_path / "cache")


def test_data_without_files_are_left_alone(tmp_path):
    import torch

    whole = ImageTensors(torch.arange(12, dtype=torch.uint8).view(4, 3, 1, 1), torch.arange(4))
    data = DataModule({"test": Split("test", "id_test", "mini", lambda: whole)}, ())
    assert with_checked_pictures(data, ["test"], skip=False, cache=tmp_path).splits["test"].load() is whole
    part = Part(whole, [3, 1])
    assert [int(label) for _, label in part.__getitems__([0, 1])] == [3, 1] and not hasattr(part, "ids")
