"""Pictures and rows of questions, and their sampling so that each form's answers have a given prior."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar
from zlib import crc32

import numpy as np

from digrap.data.mini.vqa.answers import annotate, slips_of
from digrap.data.mini.vqa.questions import CANDIDATE_CHANCES, WORDINGS, Ask, candidates, text_of
from digrap.data.mini.vqa.world import SHARES, Scene, prior, sample_scenes

Item = TypeVar("Item")

STREAM = 3  # the miniature DomainNet draws from 0, its pre-training from 1, contact sheets from 2

FIRST = {"train": 100_000, "val": 200_000, "vqa_cp": 300_000, "advqa": 400_000, "ok_vqa": 500_000}
"""Ids of COCO's pictures: that of a set's first one."""

PER_PICTURE = 3  # questions
CHUNK = 500  # scenes drawn at once, from which questions are chosen
SCENES = 2000  # a question that is not found among so many scenes a question does not occur


class Picture(NamedTuple):
    """A picture to be drawn: the `index` of stream `name`, in `style`; stored as `file`."""

    id: str
    file: str
    scene: Scene
    name: str
    index: int
    style: str = "real"
    word: str = ""  # written across it
    defect: str = ""


class Row(NamedTuple):
    """A question about a picture, its right answer and those of ten annotators."""

    number: int
    picture: Picture
    ask: Ask
    text: str
    answer: str
    answers: tuple[str, ...] = ()


def generator_of(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one part of a seed's world: a change of one part leaves the others as they are."""
    return np.random.default_rng([STREAM, seed, crc32(name.encode())])


def coco_file(part: str, number: int) -> str:
    """Return where a picture of COCO's train2014 or val2014 lies."""
    return f"images/coco/{part}2014/COCO_{part}2014_{number:012d}.jpg"


def chosen(
    generator: np.random.Generator, count: int, reverse: bool = False, each: int = PER_PICTURE
) -> list[tuple[Scene, list[tuple[Ask, str]]]]:
    """Return scenes with up to `each` questions, `count` in all, whose answers have their form's prior.

    Raises ValueError where scenes do not give such questions.
    """
    left, wanted, found = quotas(count, reverse), count, []
    for _ in range(-(-count * SCENES // CHUNK)):
        for scene, possible in _shuffled(generator):
            taken: list[tuple[Ask, str]] = []
            for ask, answer in possible:
                if left[ask.form, answer] and len(taken) < each:
                    left[ask.form, answer] -= 1
                    taken.append((ask, answer))
            if taken:
                found.append((scene, taken))
                wanted -= len(taken)
            if not wanted:
                return found
    missing = {key: number for key, number in left.items() if number}
    raise ValueError(f"{wanted} of {count} questions were not found in {count * SCENES} scenes: {missing}")


def _shuffled(generator: np.random.Generator) -> Iterator[tuple[Scene, list[tuple[Ask, str]]]]:
    """Yield (scene, its possible questions with answers in random order). The forms are weighted by their shares."""
    scenes = sample_scenes(generator, CHUNK)
    chances = generator.random((CHUNK, CANDIDATE_CHANCES)).tolist()
    ranks = generator.random((CHUNK, len(WORDINGS)))
    weights = np.array([SHARES[form] for form in WORDINGS])
    ranks = (np.log(ranks) / weights).tolist()  # the largest first: a draw without replacement by weight
    forms = {form: place for place, form in enumerate(WORDINGS)}
    for scene, chance, rank in zip(scenes, chances, ranks, strict=True):
        yield scene, sorted(candidates(scene, chance), key=lambda found: -rank[forms[found[0].form]])


def quotas(count: int, reverse: bool = False) -> dict[tuple[str, str], int]:
    """Return how many of `count` questions have each (form, answer)."""
    shares = {(form, answer): SHARES[form] * share for form in SHARES for answer, share in prior(form, reverse).items()}
    return dict(zip(shares, shared_out(count, list(shares.values())), strict=True))


def shared_out(count: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to the weights, rounded so that they add up to `count`."""
    # Shares end at halves, where the last bit decides; `sum` has another one since Python 3.12.
    upto = np.rint(np.cumsum(weights) / math.fsum(weights) * count).astype(int)
    return np.diff(upto, prepend=0).tolist()


def some(generator: np.random.Generator, items: Sequence[Item], count: int | None = None) -> list[Item]:
    """Return `count` of the items, or all, in random order."""
    return [items[at] for at in generator.permutation(len(items))[:count].tolist()]


def rows_of(
    found: Sequence[tuple[Scene, list[tuple[Ask, str]]]],
    name: str,
    first: int,
    generator: np.random.Generator,
    part: str = "val",
) -> list[Row]:
    """Return the rows of chosen questions in training's wording, on COCO's pictures `first` and following."""
    pictures = [
        Picture(str(first + index), coco_file(part, first + index), scene, name, index)
        for index, (scene, _) in enumerate(found)
    ]
    asked = [
        Row(int(picture.id) * 1000 + place, picture, ask, text_of(ask), answer)
        for picture, (_, pairs) in zip(pictures, found, strict=True)
        for place, (ask, answer) in enumerate(pairs)
    ]
    return answered(asked, [slips_of(row.ask, row.picture.scene, row.answer) for row in asked], generator)


def answered(rows: Sequence[Row], slips: Sequence[Sequence[str]], generator: np.random.Generator) -> list[Row]:
    """Return the rows with ten answers each, wrong ones of its `slips`."""
    answers = annotate([row.answer for row in rows], slips, generator)
    return [row._replace(answers=said) for row, said in zip(rows, answers, strict=True)]
