"""Ten small VQA sets in their official release formats, and what a reader has to make of them.

`python tests/data/make_vqa.py FOLDER [SCALE]` writes them; the functions after `make` spoil them for a test.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

INK = {"red": (210, 40, 40), "green": (30, 150, 50), "blue": (40, 60, 210), "yellow": (235, 205, 40)}
KINDS = {"circle": (12, 15), "square": (4, 0), "triangle": (3, 0), "diamond": (4, 45)}  # corners, degrees
SIZE = (48, 40)  # three by two cells, a shape in each
PLACES = {"train": 60, "val": 40}  # COCO pictures at scale 1
WORDS = ("STOP", "EXIT", "BANK", "CAFE", "OPEN", "TAXI", "42", "7", "2019")
TURNS = {"train": ("0.0", "270.0", "", "nan"), "val": ("90.0", "nan", "0.0", "")}  # of TextVQA's pictures, in turn
CSV = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5"
VERBS = {"circle": "roll", "square": "play", "triangle": "warn", "diamond": "glow"}  # what OK-VQA's people answer
VIZWIZ = (("is this a {}", "yes", "yes/no"), ("How many?", "1", "number"), ("What’s its color? Thanks", "{}", "other"))
TOPICS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "other")
REWORD = {
    "color": ("Which color does the {} have?", "The {} is of which color?", "Name the {}'s color", "{} of what color?"),
    "count": ("Count the {}s", "What number of {}s is here?", "{}s: how many do you see?", "How many {}s can be seen?"),
    "there": ("Do you see a {}?", "Does the picture show a {}?", "Is a {} in the picture?", "Any {} to be seen?"),
}


class Made(NamedTuple):
    """`data_root` is the folder given, `root` its vqa/. `expected`: "<set>/<part>" → what its records must have."""

    data_root: Path
    root: Path
    expected: dict[str, list[dict]]


class _Picture(NamedTuple):
    id: int
    part: str
    shapes: dict[int, tuple[str, str]]  # cell: kind, color

    @property
    def file(self) -> str:
        return f"images/coco/{self.part}2014/COCO_{self.part}2014_{self.id:012d}.jpg"

    def cells(self, kind: str) -> list[int]:
        return [cell for cell, (other, _) in self.shapes.items() if other == kind]


class _Row(NamedTuple):
    """A question as the two official files hold it, what its record must have, and what it asks of which shapes."""

    question: dict
    annotation: dict
    fact: dict
    picture: _Picture
    form: str
    kind: str

    def but(self, question: dict, annotation: dict, fact: dict) -> _Row:
        return _Row(self.question | question, self.annotation | annotation, self.fact | fact, *self[3:])


def _row(picture: _Picture, number: int, text: str, answers: Sequence[str], form="", kind="", **kinds: str) -> _Row:
    ids = {"image_id": picture.id, "question_id": number}
    known = {key: kinds[key] for key in ("answer_type", "question_type") if key in kinds}
    known |= {"image_id": str(picture.id), "picture": f"coco:{picture.id}"}
    fact = _fact(number, picture.file, text, answers, **known)
    return _Row(ids | {"question": text}, ids | {"answers": _numbered(answers)} | kinds, fact, picture, form, kind)


def _numbered(answers: Sequence[str]) -> list[dict]:
    return [dict(answer=a, answer_confidence="yes" if n % 3 else "no", answer_id=n) for n, a in enumerate(answers, 1)]


def _fact(number: int, image: str, text: str, answers: Sequence[str], **more: object) -> dict:
    blank, name = dict.fromkeys(("answer_type", "question_type", "origin", "rephrasing_of"), ""), Path(image).name
    known = {"official_id": str(number), "image": image, "question": text, "answers": list(answers)}
    return known | {"image_id": name, "picture": f"{image.split('/')[1]}:{name}"} | blank | more


@dataclass
class _World:
    root: Path
    scale: int
    seed: int
    expected: dict[str, list[dict]] = field(default_factory=dict)
    rows: dict[str, list[_Row]] = field(default_factory=dict)  # VQAv2's
    pictures: dict[str, list[_Picture]] = field(default_factory=dict)  # COCO's
    drawn: dict[str, Path] = field(default_factory=dict)

    def random(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")  # each its own, so that a change of one set leaves the others

    def some(self, name: str, part: str, number: int) -> list[_Picture]:
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

    def pair(self, key: str, questions: str, annotations: str, subset: str, rows: list[_Row]) -> None:
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
            known = dict(question_id=int(fact["official_id"]), question=fact["question"], answer=fact["answers"])
            entries.append(known | {"image": fact["image"].split("/", 2)[2], "dataset": "vqa"})
        self.write(name, entries)


def make(folder: Path, scale: int = 1, seed: int = 0) -> Made:
    """Write the ten sets under folder/vqa. They grow with `scale`; further pictures repeat the scenes of scale 1."""
    world = _World(Path(folder) / "vqa", scale, seed)
    for build in (_vqav2, _edits, _rephrasings, _cp, _ce, _advqa, _textvqa, _vizwiz, _ok_vqa):
        build(world)
    world.shuffled("vqav2/vqa_train.json", "vqav2/train", drop=1)  # as LAVIS's, which has fewer than the official file
    world.shuffled("vqav2/vqa_val.json", "vqav2/val")
    world.shuffled("vqa_ce/combined_data_subset.json", "vqa_ce/counterexamples")
    for name, part in (key.split("/") for key in world.expected):
        if name not in ("vqav2", "vqa_ce") and part != "train":
            world.shuffled(f"{name}/combined_data.json", f"{name}/{part}")
    return Made(Path(folder), world.root, world.expected)


def truncate(path: Path) -> None:
    """The last fifth is missing, as after a download that was cut."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])


def not_utf8(path: Path) -> None:
    """A Latin-1 letter before the last quotation mark: still JSON, but not UTF-8."""
    before, mark, after = path.read_bytes().rpartition(b'"')
    path.write_bytes(before + "é".encode("latin-1") + mark + after)


def drop_annotation(path: Path, index: int) -> None:
    """One entry less: of annotations, questions, or a bare list."""
    _edit(path, lambda entries: entries.pop(index))


def duplicate(path: Path, index: int) -> None:
    """An entry once more, after itself."""
    _edit(path, lambda entries: entries.insert(index, entries[index]))


def _edit(path: Path, change: Callable[[list], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content if isinstance(content, list) else next(part for part in content.values() if isinstance(part, list)))
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def remove_image(made: Made, key: str, index: int = 0) -> Path:
    """The picture of an expected record is gone; other questions about it lose it too."""
    (path := made.root / made.expected[key][index]["image"]).unlink()
    return path


def _draw(shapes: tuple[tuple[int, tuple[str, str]], ...], ground: int = 225) -> Image.Image:
    image = Image.new("RGB", SIZE, (ground, ground, ground))
    for cell, (kind, color) in shapes:
        circle, (corners, turn) = (16 * (cell % 3) + 8, 20 * (cell // 3) + 10, 8), KINDS[kind]
        ImageDraw.Draw(image).regular_polygon(circle, corners, turn, fill=INK[color])
    return image


def _draw_sign(word: str, turn: int) -> Image.Image:
    """Sky above, grass below, a sign between; stored so that `turn` degrees counterclockwise set it upright."""
    image = Image.new("RGB", SIZE, (150, 200, 250))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 28, *SIZE), fill=(60, 140, 50))
    pen.rectangle((5, 11, 42, 25), fill="white", outline="black")
    pen.text((24, 18), word, fill="black", anchor="mm")
    return image.rotate(-turn, expand=True)


def _humans(random: Random, right: str) -> tuple[str, ...]:
    """Ten answers. `right` is always the most frequent one, and often the only one."""
    wrong = ("no", "yes", "not sure") if right in ("yes", "no") else "6780" if right.isdigit() else (*INK, "gray")
    wrong = [answer for answer in wrong if answer != right]
    agreed = random.choice((10, 10, 10, 10, 9, 8, 6, 5))
    return tuple(random.sample([right] * agreed + [wrong[at % len(wrong)] for at in range(10 - agreed)], 10))


def _scene(random: Random) -> dict[int, tuple[str, str]]:
    """One shape of a kind, one to three of a second, one or two of a third, none of the fourth."""
    single, many, few = random.sample(list(KINDS), 3)
    kinds = [single] + [many] * random.randint(1, 3) + [few] * random.randint(1, 2)
    shapes = [(kind, random.choice(list(INK))) for kind in kinds]
    return dict(zip(random.sample(range(6), len(kinds)), shapes, strict=True))


def _ask(random: Random, picture: _Picture) -> list[_Row]:
    present = sorted({kind for kind, _ in picture.shapes.values()})
    single = next(kind for kind in present if len(picture.cells(kind)) == 1)
    color = picture.shapes[picture.cells(single)[0]][1]
    counted, sought = random.choice(present), random.choice(list(KINDS))
    count = random.choice(("How many {}s are there?", "What number of {}s is there?"))
    found = [
        ("color", single, "What color is the {}?", color, "other", "what color is the"),
        ("count", counted, count, str(len(picture.cells(counted))), "number", " ".join(count.lower().split()[:2])),
        ("there", sought, "Is there a {}?", "yes" if sought in present else "no", "yes/no", "is there a"),
    ]
    rows = []
    for at, (form, kind, words, right, sort, start) in enumerate(random.sample(found, len(found))):
        asked = (picture.id * 1000 + at, words.format(kind), _humans(random, right), form, kind)
        row = _row(picture, *asked, multiple_choice_answer=right, answer_type=sort, question_type=start)
        rows.append(row.but({}, {}, {"origin": str(asked[0])}))
    return rows


def _vqav2(world: _World) -> None:
    random = world.random("vqav2")
    ids = random.sample(range(1, 581930), world.scale * sum(PLACES.values()))
    for part, places in PLACES.items():
        scenes = [_scene(random) for _ in range(places)] * world.scale
        world.pictures[part] = pictures = [_Picture(ids.pop(), part, scene) for scene in scenes]
        for picture in pictures:
            world.save(picture.file, partial(_draw, tuple(picture.shapes.items())))
        world.rows[part] = rows = [row for picture in pictures for row in _ask(random, picture)]
        names = (f"v2_OpenEnded_mscoco_{part}2014_questions.json", f"v2_mscoco_{part}2014_annotations.json")
        world.pair(f"vqav2/{part}", *names, f"{part}2014", rows)


def _edits(world: _World) -> None:
    """Questions on which all agree. IV-VQA: a kind that is not asked about is gone; the removed id is its category's.
    CV-VQA: one of the counted is gone; multiple_choice_answer still says n, as in the release."""
    edits = {"iv_vqa": [], "cv_vqa": []}
    for row in (row for row in world.rows["val"] if len(set(row.fact["answers"])) == 1):
        for category, kind in enumerate(KINDS, 37):
            if kind != row.kind and (gone := row.picture.cells(kind)):
                edits["iv_vqa"].append((row, category, gone, row.fact["answers"]))
        for cell in row.picture.cells(row.kind)[:2] if row.form == "count" else ():
            edits["cv_vqa"].append(
                (row, row.picture.id * 10 + cell, [cell], [str(int(row.fact["answers"][0]) - 1)] * 10)
            )
    for name, chosen in edits.items():
        rows = []
        for row, removed, gone, answers in world.random(name).sample(chosen, len(chosen)):  # one id's edits are apart
            image_id = f"{row.picture.id:012d}_{removed:012d}"
            image = f"images/{name.replace('_', '-')}/val2014/COCO_val2014_{image_id}.jpg"
            world.save(image, partial(_draw, tuple(item for item in row.picture.shapes.items() if item[0] not in gone)))
            asked, answered = {"image_id": image_id}, {"image_id": image_id, "answers": _numbered(answers)}
            rows.append(row.but(asked, answered, asked | {"image": image, "answers": list(answers)}))
        names = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
        world.pair(f"{name}/val", *names, "", rows)


def _rephrasings(world: _World) -> None:
    """The first picture has the ids that collide, the second an original with four, the next three a spoilt text."""
    random, rows = world.random("vqa_rephrasings"), []
    asks = {of: list(group) for of, group in groupby(world.rows["val"], lambda row: row.picture.id)}
    for at, picture in enumerate(world.some("vqa_rephrasings", "val", 15)):
        asked = asks[picture.id]
        for which, row in enumerate(asked[: 2 - at % 2]):
            rows.append(row)
            texts = [text.format(row.kind) for text in random.sample(REWORD[row.form], 4 if at == 1 else 3)]
            original = row.question["question_id"]
            numbers = [original + 100 * place for place in range(1, len(texts) + 1)]
            if (at, which) == (0, 0):  # another original of this file, and a question of VQAv2 that is not in it
                numbers[:2] = (other.question["question_id"] for other in asked[1:3])
            if at in (2, 3, 4) and which == 0:
                texts[1] = ("", "?", texts[1] + "/")[at - 2]
            for number, text in zip(numbers, texts, strict=True):
                fact = {"question": text, "official_id": str(number), "rephrasing_of": str(original)}
                question = {"question": text, "question_id": number, "rephrasing_of": original}
                rows.append(row.but(question, {"question_id": number}, fact))
    stem = "mscoco_valrep2014_humans_og"
    names = (f"v2_OpenEnded_{stem}_questions.json", f"v2_{stem}_annotations.json")
    world.pair("vqa_rephrasings/val", *names, "val2014", rows)


def _cp(world: _World) -> None:
    """Train and val together, divided by question type and answer: what one part answers, the other does not."""
    every = world.rows["train"] + world.rows["val"]
    heads = [(row.annotation["question_type"], row.annotation["multiple_choice_answer"]) for row in every]
    tested = sorted(set(heads))[::3]
    for part in ("train", "test"):
        rows = [row for row, head in zip(every, heads, strict=True) if (head in tested) == (part == "test")]
        world.random(f"vqa_cp/{part}").shuffle(rows)
        questions = [row.question | {"coco_split": f"{row.picture.part}2014"} for row in rows]
        world.write(f"vqa_cp/vqacp_v2_{part}_questions.json", questions)
        world.write(f"vqa_cp/vqacp_v2_{part}_annotations.json", [row.annotation for row in rows])
        world.expected[f"vqa_cp/{part}"] = [row.fact for row in rows]


def _ce(world: _World) -> None:
    """Lists of ids, in an order of their own. Expected is VQAv2's order, as the easy ones have no list."""
    facts = world.expected["vqav2/val"]
    numbers = world.random("vqa_ce").sample([int(fact["official_id"]) for fact in facts], len(facts))
    listed = {"counterexamples": numbers[::3], "hard": numbers[1::30]}
    part_of = {str(number): part for part, chosen in listed.items() for number in chosen}
    for part, chosen in listed.items():
        world.write(f"vqa_ce/{part}.json", chosen)
    for part in ("easy", *listed):
        world.expected[f"vqa_ce/{part}"] = [fact for fact in facts if part_of.get(fact["official_id"], "easy") == part]


def _advqa(world: _World) -> None:
    """Its files say val2017, its pictures are val2014's; no question types, and some answer types are missing."""
    random, rows = world.random("advqa"), []
    for at, picture in enumerate(world.some("advqa", "val", 20)):
        for cell, (kind, color) in random.sample(list(picture.shapes.items()), 2):
            text = f"What color is the {kind} in column {cell % 3 + 1} at the {'bottom' if cell > 2 else 'top'}?"
            answers, more = _humans(random, color), {"answer_type": "other"} if at % 5 else {}
            rows.append(_row(picture, 10**9 + len(rows), text, answers, **more))
    names = ("v1_OpenEnded_mscoco_val2017_advqa_questions.json", "v1_mscoco_val2017_advqa_annotations.json")
    world.pair("advqa/val", *names, "val2017", rows)


def _ok_vqa(world: _World) -> None:
    """Five people's answers, each twice; `answer` is the stem of `raw_answer`."""
    for part, number in (("train", 20), ("val", 15)):
        random, rows = world.random(f"ok_vqa/{part}"), []
        for at, picture in enumerate(world.some("ok_vqa", part, number)):
            for which, kind in enumerate(sorted({kind for kind, _ in picture.shapes.values()})[: 1 if at % 10 else 2]):
                verb, text = VERBS[kind], f"What can a thing that has the shape of a {kind} do?"
                raws = [raw for raw in random.choices((f"{verb}ing", f"{verb}s", verb, "nothing"), k=5) for _ in "12"]
                answers = ["noth" if raw == "nothing" else verb for raw in raws]
                kinds = {"answer_type": "other", "question_type": TOPICS[at % 11]}
                row = _row(picture, picture.id * 10 + 5 + which, text, answers, **kinds)
                both = [known | {"raw_answer": raw} for known, raw in zip(_numbered(answers), raws, strict=True)]
                rows.append(row.but({}, {"answers": both, "confidence": 3}, {"raw_answers": raws}))
        names = (f"OpenEnded_mscoco_{part}2014_questions.json", f"mscoco_{part}2014_annotations.json")
        world.pair(f"ok_vqa/{part}", *names, f"{part}2014", rows)


def _textvqa(world: _World) -> None:
    """Validation's ids go on where training's end, and its pictures are in train_images; two questions a picture."""
    random, number, rows = world.random("textvqa"), 0, []
    for part, pictures in (("train", 14), ("val", 10)):
        facts, entries = [], []
        for at in range(pictures * world.scale):
            hexed, word, turned = f"{random.getrandbits(64):016x}", random.choice(WORDS), TURNS[part][at % 4]
            turn = int(float(turned)) if turned not in ("", "nan") else 0
            image, urls = f"images/textvqa/train_images/{hexed}.jpg", f"https://example.org/{hexed}"
            size = SIZE[::-1] if turn % 180 else SIZE
            world.save(image, partial(_draw_sign, word, turn))
            rows.append([hexed, "train", urls, urls, urls, urls, "Ann", f'A "{word}", seen', 1, "==", urls, turned])
            for text in ("what does the sign say?", "what is written in black on white?"):
                said = random.choices((word.lower(), word.lower(), f"the {word.lower()}", "sign"), k=10)
                known = dict(question_id=number, question=text, question_tokens=text[:-1].split(), image_id=hexed)
                known |= dict(image_classes=["Sign"], image_width=size[0], image_height=size[1], answers=said)
                entries.append(known | dict(flickr_original_url=urls, flickr_300k_url=urls, set_name=part))
                facts.append(_fact(number, image, text, said, image_id=hexed, rotation=turn))
                number += 1
        world.write(f"textvqa/TextVQA_0.5.1_{part}.json", {"data": entries})
        world.expected[f"textvqa/{part}"] = facts
    with open(world.root / "textvqa/train-images-boxable-with-rotation.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*CSV.split(","), "Thumbnail300KURL", "Rotation"], *rows])


def _vizwiz(world: _World) -> None:
    """A list without ids: the place counts. Every third picture is too dark to see anything in; one answer is empty."""
    for part, number in (("train", 15), ("val", 20)):
        random, entries, facts = world.random(f"vizwiz/{part}"), [], []
        for at in range(number * world.scale):
            image, seen = f"images/vizwiz/{part}/VizWiz_{part}_{at:08d}.jpg", at % 3 > 0
            color, kind = random.choice(list(INK)), random.choice(list(KINDS))
            world.save(image, partial(_draw, ((1, (kind, color)),) if seen else (), 225 if seen else 10))
            text, right, sort = VIZWIZ[at % 4 - 1] if seen else ("What is this", "unanswerable", "unanswerable")
            text, right = text.format(kind), right.format(color)
            said = [a if (part, at, n) != ("train", 1, 3) else "" for n, a in enumerate(_humans(random, right))]
            answers = [{key: known[key] for key in ("answer", "answer_confidence")} for known in _numbered(said)]
            known = dict(image=Path(image).name, question=text, answers=answers)
            entries.append(known | dict(answer_type=sort, answerable=int(seen)))
            facts.append(_fact(at, image, text, said, answer_type=sort))
        world.write(f"vizwiz/{part}.json", entries)
        world.expected[f"vizwiz/{part}"] = facts


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
    for key, facts in made.expected.items():
        print(f"{key}: {len(facts)} questions, {made.root / key.split('/')[0]}")
