"""The three far sets: TextVQA, VizWiz and OK-VQA in miniature, whose questions or pictures training has none like."""

from __future__ import annotations

from digrap.data.mini.scenes import DEFECTS, OBJECTS
from digrap.data.mini.vqa.answers import slips_of
from digrap.data.mini.vqa.facts import FACTS, facts_of
from digrap.data.mini.vqa.questions import Ask, text_of
from digrap.data.mini.vqa.rows import (
    CHUNK,
    FIRST,
    Picture,
    Row,
    answered,
    chosen,
    coco_file,
    generator_of,
    shared_out,
    some,
)
from digrap.data.mini.vqa.words import SIGNS
from digrap.data.mini.vqa.world import COLOR_NAMES, sample_scenes

READ = (
    "what does it say ?",
    "what is written in the image ?",
    "which word is in the picture ?",
    "what word do you see at the {} ?",
)
FIRST_TEXT = 34_602  # the first question of TextVQA's validation
UNANSWERABLE = "unanswerable"
UNANSWERABLE_SHARE = 0.3
OF_WHAT_IS_NOT_THERE = ("color", "side", "height")
_SIDES = {"color": COLOR_NAMES, "side": ("left", "right"), "height": ("top", "bottom")}


def textvqa(seed: int, count: int) -> list[Row]:
    """Return rows that ask for a word written across one half of a picture of style infograph; symbols in the other."""
    generator = generator_of(seed, "textvqa")
    chance, rows, slips = generator.random((count, 4)).tolist(), [], []
    for index, (scene, draw) in enumerate(zip(sample_scenes(generator, count), chance, strict=True)):
        half, word = int(draw[0] * 2), SIGNS[int(draw[1] * len(SIGNS))]
        for cell in (2 * half, 2 * half + 1):
            scene = scene.without(cell)
        # A word is written over the upper half where that is empty: with no symbol at all, too.
        half = half if scene.cells() else 0
        text = READ[int(draw[2] * len(READ))].format(("top", "bottom")[half])
        number = f"{int(draw[3] * 2**53) % 2**32:08x}{index:08x}"  # as Open Images names its pictures
        file = f"images/textvqa/train_images/{number}.jpg"
        picture = Picture(number, file, scene, "textvqa", index, "infograph", word.upper())
        rows.append(Row(FIRST_TEXT + index, picture, Ask("read"), text, word))
        slips.append([other for other in SIGNS if other != word and other[0] == word[0]] or [SIGNS[0]])
    return answered(rows, slips, generator)


def vizwiz(seed: int, count: int) -> list[Row]:
    """Return rows about pictures with a defect, one each; some ask about what is not there (`UNANSWERABLE`)."""
    generator = generator_of(seed, "vizwiz")
    found = some(generator, chosen(generator, count, each=1))
    chance, rows, slips = generator.random((count, 4)).tolist(), [], []
    for index, ((scene, [(ask, answer)]), draw) in enumerate(zip(found, chance, strict=True)):
        wrong = slips_of(ask, scene, answer)
        if draw[0] < UNANSWERABLE_SHARE:
            absent = [kind for kind in range(len(OBJECTS)) if kind not in scene.objects]
            form = OF_WHAT_IS_NOT_THERE[int(draw[1] * len(OF_WHAT_IS_NOT_THERE))]
            ask, answer, wrong = Ask(form, absent[int(draw[2] * len(absent))]), UNANSWERABLE, _SIDES[form]
        name = f"VizWiz_val_{index:08d}.jpg"
        defect = tuple(DEFECTS)[int(draw[3] * len(DEFECTS))]
        picture = Picture(name, f"images/vizwiz/val/{name}", scene, "vizwiz", index, defect=defect)
        rows.append(Row(index, picture, ask, text_of(ask), answer))
        slips.append(wrong)
    return answered(rows, slips, generator)


def ok_vqa(seed: int, count: int) -> list[Row]:
    """Return rows that ask for facts about the only symbol of a color, every fact and each of its answers as often."""
    generator = generator_of(seed, "ok_vqa")
    cells = [(place, answer) for place, fact in enumerate(FACTS) for answer in _possible(place)]
    left = dict(zip(cells, shared_out(count, [1 / len(_possible(place)) for place, _ in cells]), strict=True))
    rows, slips = [], []
    while any(left.values()):
        for scene in sample_scenes(generator, CHUNK):
            if not (cells := [fact for fact in facts_of(scene) if left.get((fact[0], fact[2]))]):
                continue
            place, color, answer = max(cells, key=lambda cell: left[cell[0], cell[2]])
            left[place, answer] -= 1
            number = FIRST["ok_vqa"] + len(rows)
            picture = Picture(str(number), coco_file("val", number), scene, "ok_vqa", len(rows))
            text = FACTS[place].wording.format(f"the {COLOR_NAMES[color]} symbol")
            rows.append(Row(number * 1000 + 5, picture, Ask(f"fact {place}", color=color), text, answer))
            slips.append([other for other in _possible(place) if other != answer])
    rows, slips = zip(*some(generator, list(zip(rows, slips, strict=True))), strict=True)
    return answered(rows, slips, generator)


def _possible(place: int) -> list[str]:
    """Return the answers that a fact has about the objects."""
    return sorted({answer for label in OBJECTS if (answer := FACTS[place].of(label)) is not None})
