"""The miniature DomainNet: its pictures, that they are the same everywhere, and that damage is named."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.data.mini import domainnet
from digrap.data.mini.draw import CHUNK, DOMAINS, draw
from digrap.data.mini.glyphs import GLYPHS, load_glyphs
from digrap.data.mini.symbols import CLASSES, CODE_POINTS
from tests.data.golden import assert_as_drawn_before, row

GOLDEN = Path(__file__).with_name("golden_mini.png")
SPLITS = {
    "real_train": {"domain": "real", "kind": "id_train", "size": 100},
    "real_val": {"domain": "real", "kind": "id_val", "size": 90},
    "real": {"domain": "real", "kind": "id_test", "size": 45},
    "quickdraw": {"domain": "quickdraw", "kind": "near_ood", "size": 45},
}


def golden_sheet() -> torch.Tensor:
    """The first eight pictures of every domain: uint8 (6 · 32, 8 · 32, 3)."""
    rows = [row(torch.cat(list(draw(load_glyphs(), torch.arange(8) * 5, domain, (9, 9, 9), 32)))) for domain in DOMAINS]
    return torch.cat(rows)


def small(root, seed=0, **changes):
    """A few splits of a few pictures."""
    splits = {name: options | changes for name, options in SPLITS.items()}
    return domainnet.build(root, seed, 32, splits)


def test_the_pictures_are_the_ones_drawn_before():
    assert_as_drawn_before(golden_sheet(), GOLDEN)


def test_symbols_and_glyphs():
    masks = load_glyphs()
    assert len(CLASSES) == len(set(CLASSES)) == 45
    assert masks.shape == (285, 1, 64, 64) and len(set(CODE_POINTS)) == 285
    assert masks.min() >= 0 and masks.max() == 1
    assert len({mask.numpy().tobytes() for mask in masks}) == 285


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_picture_does_not_depend_on_its_company(domain):
    labels = torch.arange(CHUNK + 20) % 45
    many = torch.cat(list(draw(load_glyphs(), labels, domain, (0, 3, 7), 32)))
    few = torch.cat(list(draw(load_glyphs(), labels[:5], domain, (0, 3, 7), 32)))
    assert torch.equal(many[:5], few)
    assert many.dtype == torch.uint8 and many.shape == (CHUNK + 20, 3, 32, 32)
    assert len({picture.numpy().tobytes() for picture in many}) == len(many)


@pytest.mark.parametrize("size", [32, 40, 48])
def test_sizes(size):
    (chunk,) = draw(load_glyphs(), torch.arange(3), "infograph", (0, 0, 0), size)
    assert chunk.shape == (3, 3, size, size)


def test_labels_are_balanced_and_do_not_depend_on_the_number():
    labels = domainnet.balanced_labels(5, 77, 1000)
    counts = labels.bincount(minlength=45)
    assert counts.max() - counts.min() <= 1
    assert torch.equal(labels[:100], domainnet.balanced_labels(5, 77, 100))
    assert not torch.equal(labels, domainnet.balanced_labels(6, 77, 1000))


def test_no_picture_is_in_two_splits_or_seeds(tmp_path):
    pictures = []
    for seed in (0, 1, 1000):
        for split in small(tmp_path, seed).splits.values():
            pictures += [image.numpy().tobytes() for image in split.load().images]
    assert len(set(pictures)) == len(pictures) == 3 * 280


def test_splits_keep_their_order_kind_and_classes(tmp_path):
    data = small(tmp_path)
    assert list(data.splits) == list(SPLITS) and data.classes == CLASSES
    assert [split.name for split in data.of_kind("near_ood")] == ["quickdraw"]
    images = data.splits["real"].load()
    assert images.images.shape == (45, 3, 32, 32) and sorted(images.labels.tolist()) == list(range(45))


def test_the_cache_gives_the_same_pictures(tmp_path, monkeypatch):
    first = small(tmp_path).splits["real"].load()
    monkeypatch.setattr(domainnet, "draw", None)  # a second drawing would fail
    second = small(tmp_path).splits["real"].load()
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("damage", ["flip", "cut", "shape", "empty"])
def test_a_damaged_cache_is_named_and_never_used(tmp_path, damage):
    small(tmp_path).splits["real"].load()
    (path,) = tmp_path.rglob("real-*.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-2000] ^= 1
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "shape":
        data = safetensors.torch.save({"images": torch.zeros(1, 3, 32, 32), "labels": torch.zeros(1)})
    else:
        data = b""
    path.write_bytes(data)
    with pytest.raises(DigrapError, match=f"{path}.*delete the file"):
        small(tmp_path).splits["real"].load()


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    images = small(tmp_path / "file").splits["real"].load()
    assert len(images) == 45
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize(
    ("seed", "size", "changes", "message"),
    [
        (-1, 32, {}, "dataset.seed=-1: give a whole number from 0"),
        (0, 16, {}, "dataset.image_size=16: give a whole number from 32 to 48"),
        (0, 32, {"domain": "photo"}, "domain=photo: choose one of real, clipart"),
        (0, 32, {"kind": "ood"}, "kind=ood: choose one of id_train"),
        (0, 32, {"size": 0}, "size=0: give a whole number from 1"),
    ],
)
def test_bad_input(tmp_path, seed, size, changes, message):
    splits = {name: options | changes for name, options in SPLITS.items()}
    with pytest.raises(DigrapError, match=message):
        domainnet.build(tmp_path, seed, size, splits)


def test_damaged_glyphs_are_refused(tmp_path):
    path = tmp_path / "glyphs.npz"
    with pytest.raises(DigrapError, match="missing; restore it"):
        load_glyphs(path)
    path.write_bytes(GLYPHS.read_bytes()[:-1])
    with pytest.raises(DigrapError, match="damaged or from another version"):
        load_glyphs(path)


def test_what_is_shipped_is_small():
    assert sum(path.stat().st_size for path in (REPO / "data" / "mini").iterdir()) < 8 * 2**20
