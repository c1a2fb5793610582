"""Scenes: the same everywhere, changed only where an object goes, and legible: colours, words; bad input is named."""

from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from digrap.core.errors import DigrapError
from digrap.data.mini.glyphs import LETTERS, load_letters
from digrap.data.mini.scene_styles import COLORS, STYLES
from digrap.data.mini.scene_words import strips
from digrap.data.mini.scenes import CHUNK, DEFECTS, OBJECTS, Scenes, draw_scenes, spoil
from tests.data.golden import assert_as_drawn_before, row

GOLDEN = Path(__file__).with_name("golden_scenes.png")
KEY = (9, 0, 0)
WORDS = ("STOP", "SHOP", "EXIT", "TAXI", "BOOKS", "BOOTS", "QUICK", "WALTZ", "JUMPY", "DWARF", "VEX", "SUN", "GO", "NO")


def some(count: int) -> Scenes:
    """Scenes with an object in every cell."""
    random = torch.Generator().manual_seed(count)
    objects, colors = (torch.randint(0, len(of), (count, 4), generator=random) for of in (OBJECTS, COLORS))
    return Scenes(objects, colors)


def without(scenes: Scenes, *cells: int) -> Scenes:
    """The scenes with `cells` emptied."""
    emptied = Scenes(*(part.clone() for part in scenes))
    for part in emptied:
        part[:, list(cells)] = -1
    return emptied


def drawn(scenes: Scenes, style: str, **options) -> torch.Tensor:
    return torch.cat(list(draw_scenes(scenes, style, KEY, **options)))


def golden_sheet() -> torch.Tensor:
    """Four scenes in every style, the last two with a word, and with every defect: uint8 (10 · 48, 4 · 48, 3)."""
    scenes = some(4)
    for part in scenes:
        part[2, :2] = part[3, 2:] = -1
    pictures = {style: drawn(scenes, style, words=["", "", "JUMPY", "GO"]) for style in STYLES}
    return torch.cat(
        [row(part) for part in (*pictures.values(), *(spoil(pictures["real"], kind, KEY) for kind in DEFECTS))]
    )


def test_the_pictures_are_the_ones_drawn_before():
    assert_as_drawn_before(golden_sheet(), GOLDEN)


@pytest.mark.parametrize("style", STYLES)
def test_a_picture_does_not_depend_on_its_company(style):
    scenes = without(some(CHUNK + 5), 0, 1)
    words = ["", "SUN"] * (len(scenes.objects) // 2) + [""]
    many = drawn(scenes, style, words=words)
    assert many.dtype == torch.uint8 and many.shape == (CHUNK + 5, 3, 48, 48)
    assert torch.equal(many[:4], drawn(Scenes(*(part[:4] for part in scenes)), style, words=words[:4]))
    # Without the words of others, too.
    assert torch.equal(many[::2], drawn(scenes, style)[::2])
    assert len({picture.numpy().tobytes() for picture in many}) == len(many)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cell", range(4))
def test_an_emptied_cell_changes_the_picture_there_only(style, cell):
    scenes = some(CHUNK)
    changed = (drawn(scenes, style).int() - drawn(without(scenes, cell), style).int()).abs().amax(1)
    top, left = cell // 2 * 24, cell % 2 * 24
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[max(0, top - 4) : top + 28, max(0, left - 4) : left + 28] = True
    assert not changed[:, ~inside].any()
    assert ((changed > 40).sum((1, 2)) > 40).all()  # an object is seen to be gone


def test_styles_and_keys_draw_other_pictures():
    pictures = [drawn(some(8), style) for style in STYLES]
    pictures += list(draw_scenes(some(8), "real", (9, 1, 0))) + list(draw_scenes(some(8), "real", (9, 0, 1)))
    assert len({picture.numpy().tobytes() for part in pictures for picture in part}) == 8 * 9


def named(pictures: torch.Tensor) -> torch.Tensor:
    """The colour that each cell's twelve most colourful pixels are nearest to in hue: index into COLORS, (N, 4).

    Pale or grey ones are called black, the last colour.
    """
    cells = (pictures.float() / 255).unflatten(3, (2, 24)).unflatten(2, (2, 24)).permute(0, 2, 4, 1, 3, 5).flatten(4)
    cells = cells.flatten(1, 2)  # (N, 4, 3, 576)
    best = (cells.amax(2) - cells.amin(2)).topk(12).indices
    shade = cells.gather(3, best[:, :, None].expand(-1, -1, 3, -1)).mean(3)
    red, green, blue = shade.unbind(2)
    hue = torch.rad2deg(torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue))
    known = torch.tensor([sum(shade.hue) / 2 for shade in list(COLORS.values())[:-1]])
    distance = ((hue[..., None] - known + 180).remainder(360) - 180).abs()
    return torch.where(shade.amax(2) - shade.amin(2) < 0.3, len(COLORS) - 1, distance.argmin(2))


@pytest.mark.parametrize("style", STYLES)
def test_colours_are_what_they_are_called(style):
    scenes = some(3 * CHUNK)
    right = named(drawn(scenes, style)) == scenes.colors
    for color in range(len(COLORS)):
        assert right[scenes.colors == color].float().mean() > 0.95, list(COLORS)[color]


def likeness(halves: torch.Tensor, word: str) -> torch.Tensor:
    """The largest absolute correlation of halves' greys (N, 24, 48) with the word, over places and sizes: (N,)."""
    halves, found = halves[:, None], []
    for pitch, stretch in product([8.2, 8.8] if len(word) == 5 else [9.8, 10.4], [1.3, 1.45]):
        letters = strips([word])[:, :, 3:-3, : 24 * len(word)]
        mask = F.interpolate(
            letters, (round(pitch * stretch), round(pitch * len(word))), mode="bilinear", antialias=True
        )
        mask, ones = mask - mask.mean(), torch.ones_like(mask) / mask.numel()
        spread = (F.conv2d(halves**2, ones) - F.conv2d(halves, ones) ** 2).clamp(min=1e-4).sqrt()
        found.append((F.conv2d(halves, mask) / spread / mask.norm() / mask.numel() ** 0.5).abs().flatten(1).amax(1))
    return torch.stack(found).amax(0)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("lower", [False, True])
def test_words_are_told_from_others_of_their_length(style, lower):
    scenes = without(some(len(WORDS)), *((2, 3) if lower else (0, 1)))
    greys = drawn(scenes, style, words=WORDS).float().mean(1) / 255
    found = torch.stack([likeness(greys[:, 24:] if lower else greys[:, :24], word) for word in WORDS], 1)
    lengths = torch.tensor([len(word) for word in WORDS])
    found[lengths[:, None] != lengths] = 0
    assert found.max(1).values.min() > 0.6
    assert (found.argmax(1) == torch.arange(len(WORDS))).sum() >= len(WORDS) - 1


def test_a_word_changes_its_half_only():
    scenes = without(some(4), 0, 1)
    changed = (drawn(scenes, "infograph", words=["DWARF"] * 4) != drawn(scenes, "infograph")).any(1)
    assert changed[:, :24].flatten(1).any(1).all() and not changed[:, 24:].any()


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_does_not_depend_on_the_company(kind):
    pictures = drawn(some(CHUNK + 3), "real")
    spoiled = spoil(pictures, kind, KEY)
    assert spoiled.dtype == torch.uint8 and spoiled.shape == pictures.shape
    assert torch.equal(spoiled[:3], spoil(pictures[:3], kind, KEY))
    assert spoil(pictures[:0], kind, KEY).shape == (0, 3, 48, 48)


def test_defects_are_what_they_are_called():
    pictures = drawn(some(CHUNK), "real").float()
    blurred, dark, cropped = (spoil(pictures.byte(), kind, KEY).float() for kind in ("blur", "dark", "crop"))
    steps = [(part[..., 1:] - part[..., :-1]).abs().mean((1, 2, 3)) for part in (pictures, blurred)]
    assert (steps[1] < 0.5 * steps[0]).all()
    assert (dark.mean((1, 2, 3)) < 0.4 * pictures.mean((1, 2, 3))).all()
    assert (cropped - pictures).abs().mean() > 20 and abs(cropped.mean() - pictures.mean()) < 20


@pytest.mark.parametrize("size", [32, 48, 64])
def test_sizes(size):
    for style in STYLES:
        assert drawn(some(2), style, size=size).shape == (2, 3, size, size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "sketchy"}, "style=sketchy: there is no such style; nearest: sketch"),
        ({"size": 50}, "size=50: give a multiple of 4 pixels from 32 to 96"),
        ({"size": 100}, "size=100: give a multiple of 4"),
        ({"words": ["stop", ""]}, r"words\[0\]='stop': give at most 5 letters, A to Z"),
        ({"words": ["", "BANANA"]}, r"words\[1\]='BANANA': give at most 5 letters"),
        ({"words": ["CAFÉ", ""]}, r"words\[0\]='CAFÉ': give at most 5 letters"),
        ({"words": ["STOP"]}, "words: 1 for 2 scenes; give one a scene"),
        ({"words": ["", "STOP"], "scenes": without(some(2), 0, 3)}, "scene 1 has objects in both halves; empty one"),
        ({"scenes": Scenes(some(2).objects, without(some(2), 1).colors)}, "has an object and no colour"),
        (
            {"scenes": Scenes(some(2).objects, some(3).colors)},
            r"scenes.colors: torch.int64 \(3, 4\); give int64 \(N, 4\)",
        ),
        ({"scenes": Scenes(some(2).objects.int(), some(2).colors)}, "scenes.objects: torch.int32"),
        ({"scenes": Scenes(some(2).objects + 16, some(2).colors)}, "scenes.objects: from .*; give -1 to 15"),
        ({"scenes": Scenes(some(2).objects, some(2).colors - 6)}, "scenes.colors: from -.*; give -1 to 5"),
    ],
)
def test_bad_scenes(change, message):
    options = {"scenes": without(some(2), 0, 1), "style": "real", "key": KEY} | change
    with pytest.raises(DigrapError, match=message):
        draw_scenes(**options)  # before the first picture is asked for


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (torch.zeros(1, 3, 48, 48, dtype=torch.uint8), "blurr", "kind=blurr: there is no such defect; nearest: blur"),
        (torch.zeros(1, 3, 48, 48), "blur", "images: torch.float32"),
        (torch.zeros(3, 48, 48, dtype=torch.uint8), "blur", r"images: torch.uint8 \(3, 48, 48\); give uint8"),
    ],
)
def test_bad_defects(images, kind, message):
    with pytest.raises(DigrapError, match=message):
        spoil(images, kind, KEY)


def test_letters():
    masks = load_letters()
    assert masks.shape == (26, 1, 64, 64) and masks.max() == 1
    assert len({mask.numpy().tobytes() for mask in masks}) == 26
    assert not masks[..., :8].any() and not masks[..., 56:].any()  # what a word's strip leaves out


def test_damaged_letters_are_refused(tmp_path):
    path = tmp_path / "letters.npz"
    with pytest.raises(
        DigrapError, match="letter masks are missing; restore it with `git checkout -- data/mini/letters"
    ):
        load_letters(path)
    path.write_bytes(LETTERS.read_bytes()[:-1])
    with pytest.raises(DigrapError, match="damaged or from another version"):
        load_letters(path)
