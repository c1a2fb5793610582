"""The world of the small VQA sets: pictures, questions about them, and how files and expectations are written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

INK = {"red": (210, 40, 40), "green": (30, 150, 50), "blue": (40, 60, 210), "yellow": (235, 205, 40)}
KINDS = {"circle": (12, 15), "square": (4, 0), "triangle": (3, 0), "diamond": (4, 45)}  # corners, degrees
SIZE = (48, 40)  # three by two cells, a shape in each


class Picture(NamedTuple):
    id: int
    part: str
    shapes: dict[int, tuple[str, str]]  # cell: kind, color

    @property
    def file(self) -> str:
        return f"images/coco/{self.part}2014/COCO_{self.part}2014_{self.id:012d}.jpg"

    def cells(self, kind: str) -> list[int]:
        return [cell for cell, (other, _) in self.shapes.items() if other == kind]


class Row(NamedTuple):
    """A question as the two official files hold it, the fields of its record, and what it asks of which shape."""

    question: dict
    annotation: dict
    fact: dict
    picture: Picture
    form: str
    kind: str

    def but(self, question: dict, annotation: dict, fact: dict) -> Row:
        return Row(self.question | question, self.annotation | annotation, self.fact | fact, *self[3:])


def make_row(picture: Picture, number: int, text: str, answers: Sequence[str], form="", kind="", **kinds: str) -> Row:
    ids = {"image_id": picture.id, "question_id": number}
    known = {key: kinds[key] for key in ("answer_type", "question_type") if key in kinds}
    known |= {"image_id": str(picture.id), "picture": f"coco:{picture.id}"}
    fact = make_fact(number, picture.file, text, answers, **known)
    return Row(ids | {"question": text}, ids | {"answers": numbered(answers)} | kinds, fact, picture, form, kind)


def numbered(answers: Sequence[str]) -> list[dict]:
    return [dict(answer=a, answer_confidence="yes" if n % 3 else "no", answer_id=n) for n, a in enumerate(answers, 1)]


def make_fact(number: int, image: str, text: str, answers: Sequence[str], **more: object) -> dict:
    blank, name = dict.fromkeys(("answer_type", "question_type", "origin", "rephrasing_of")), Path(image).name
    known = {"question_id": str(number), "image": image, "question": text, "answers": list(answers)}
    return known | {"image_id": name, "picture": f"{image.split('/')[1]}:{name}"} | blank | more


@dataclass
class World:
    root: Path
    scale: int
    seed: int
    expected: dict[str, list[dict]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)  # VQAv2's
    pictures: dict[str, list[Picture]] = field(default_factory=dict)  # COCO's
    drawn: dict[str, Path] = field(default_factory=dict)

    def random(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")  # each its own, so that a change of one set leaves the others

    def some(self, name: str, part: str, number: int) -> list[Picture]:
        return self.random(f"{name}/{part}").sample(self.pictures[part], number * self.scale)

    def save(self, name: str, draw: partial) -> None:
        """Draw a picture, or copy one that was drawn alike."""
        (path := self.root / name).parent.mkdir(parents=True, exist_ok=True)
        if (first := self.drawn.setdefault(repr(draw), path)) is path:
            draw().save(path, quality=92)
        elif not path.exists():
            shutil.copyfile(first, path)

    def write(self, name: str, content: object) -> None:
        (path := self.root / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def pair(self, key: str, questions: str, annotations: str, subset: str, rows: list[Row]) -> None:
        """The two official files. Without a subset, as in IV-VQA and CV-VQA, no other key than one."""
        name, asks, task = key.split("/")[0], [row.question for row in rows], {"task_type": "Open-Ended"}
        head = {"info": {"year": 2017}, "license": {}, "data_type": "mscoco", "data_subtype": subset} if subset else {}
        self.write(f"{name}/{questions}", head | (task if subset else {}) | {"questions": asks})
        self.write(f"{name}/{annotations}", head | {"annotations": [row.annotation for row in rows]})
        self.expected[key] = [row.fact for row in rows]

    def shuffled(self, name: str, key: str, drop: int = 0) -> None:
        """An authors' list file: the same questions in another order, paths relative to the set's pictures."""
        entries = []
        for fact in self.random(name).sample(self.expected[key], len(self.expected[key]) - drop):
            known = dict(question_id=int(fact["question_id"]), question=fact["question"], answer=fact["answers"])
            entries.append(known | {"image": fact["image"].split("/", 2)[2], "dataset": "vqa"})
        self.write(name, entries)


def draw_shapes(shapes: tuple[tuple[int, tuple[str, str]], ...], ground: int = 225) -> Image.Image:
    image = Image.new("RGB", SIZE, (ground, ground, ground))
    for cell, (kind, color) in shapes:
        circle, (corners, turn) = (16 * (cell % 3) + 8, 20 * (cell // 3) + 10, 8), KINDS[kind]
        ImageDraw.Draw(image).regular_polygon(circle, corners, turn, fill=INK[color])
    return image


def draw_sign(word: str, turn: int) -> Image.Image:
    """Draw sky above, grass below and a sign between, stored so that `turn` degrees counterclockwise set it upright."""
    image = Image.new("RGB", SIZE, (150, 200, 250))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 28, *SIZE), fill=(60, 140, 50))
    pen.rectangle((5, 11, 42, 25), fill="white", outline="black")
    pen.text((24, 18), word, fill="black", anchor="mm")
    return image.rotate(-turn, expand=True)


def humans(random: Random, right: str) -> tuple[str, ...]:
    """Draw ten answers. `right` is always the most frequent one, and often the only one."""
    wrong = ("no", "yes", "not sure") if right in ("yes", "no") else "6780" if right.isdigit() else (*INK, "gray")
    wrong = [answer for answer in wrong if answer != right]
    agreed = random.choice((10, 10, 10, 10, 9, 8, 6, 5))
    return tuple(random.sample([right] * agreed + [wrong[at % len(wrong)] for at in range(10 - agreed)], 10))
