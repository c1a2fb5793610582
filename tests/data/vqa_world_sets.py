"""The ten small VQA sets, one function each, in their official release formats."""

from __future__ import annotations

import csv
from functools import partial
from itertools import groupby
from pathlib import Path
from random import Random

from tests.data.vqa_world import (
    INK,
    KINDS,
    SIZE,
    Picture,
    Row,
    World,
    draw_shapes,
    draw_sign,
    humans,
    make_fact,
    make_row,
    numbered,
)

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


def _scene(random: Random) -> dict[int, tuple[str, str]]:
    """Draw a scene: one shape of a kind, one to three of a second, one or two of a third, none of the fourth."""
    single, many, few = random.sample(list(KINDS), 3)
    kinds = [single] + [many] * random.randint(1, 3) + [few] * random.randint(1, 2)
    shapes = [(kind, random.choice(list(INK))) for kind in kinds]
    return dict(zip(random.sample(range(6), len(kinds)), shapes, strict=True))


def _ask(random: Random, picture: Picture) -> list[Row]:
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
        asked = (picture.id * 1000 + at, words.format(kind), humans(random, right), form, kind)
        row = make_row(picture, *asked, multiple_choice_answer=right, answer_type=sort, question_type=start)
        rows.append(row.but({}, {}, {"origin": str(asked[0])}))
    return rows


def _vqav2(world: World) -> None:
    random = world.random("vqav2")
    ids = random.sample(range(1, 581930), world.scale * sum(PLACES.values()))
    for part, places in PLACES.items():
        scenes = [_scene(random) for _ in range(places)] * world.scale
        world.pictures[part] = pictures = [Picture(ids.pop(), part, scene) for scene in scenes]
        for picture in pictures:
            world.save(picture.file, partial(draw_shapes, tuple(picture.shapes.items())))
        world.rows[part] = rows = [row for picture in pictures for row in _ask(random, picture)]
        names = (f"v2_OpenEnded_mscoco_{part}2014_questions.json", f"v2_mscoco_{part}2014_annotations.json")
        world.pair(f"vqav2/{part}", *names, f"{part}2014", rows)


def _edits(world: World) -> None:
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
            world.save(
                image, partial(draw_shapes, tuple(item for item in row.picture.shapes.items() if item[0] not in gone))
            )
            asked, answered = {"image_id": image_id}, {"image_id": image_id, "answers": numbered(answers)}
            rows.append(row.but(asked, answered, asked | {"image": image, "answers": list(answers)}))
        names = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
        world.pair(f"{name}/val", *names, "", rows)


def _rephrasings(world: World) -> None:
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
                fact = {"question": text, "question_id": str(number), "rephrasing_of": str(original)}
                question = {"question": text, "question_id": number, "rephrasing_of": original}
                rows.append(row.but(question, {"question_id": number}, fact))
    stem = "mscoco_valrep2014_humans_og"
    names = (f"v2_OpenEnded_{stem}_questions.json", f"v2_{stem}_annotations.json")
    world.pair("vqa_rephrasings/val", *names, "val2014", rows)


def _cp(world: World) -> None:
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


def _ce(world: World) -> None:
    """Lists of ids, in an order of their own. Records are expected in VQAv2's order, because easy has no list."""
    facts = world.expected["vqav2/val"]
    numbers = world.random("vqa_ce").sample([int(fact["question_id"]) for fact in facts], len(facts))
    listed = {"counterexamples": numbers[::3], "hard": numbers[1::30]}
    part_of = {str(number): part for part, chosen in listed.items() for number in chosen}
    for part, chosen in listed.items():
        world.write(f"vqa_ce/{part}.json", chosen)
    for part in ("easy", *listed):
        world.expected[f"vqa_ce/{part}"] = [fact for fact in facts if part_of.get(fact["question_id"], "easy") == part]


def _advqa(world: World) -> None:
    """Its files say val2017, its pictures are val2014's; no question types, and some answer types are missing."""
    random, rows = world.random("advqa"), []
    for at, picture in enumerate(world.some("advqa", "val", 20)):
        for cell, (kind, color) in random.sample(list(picture.shapes.items()), 2):
            text = f"What color is the {kind} in column {cell % 3 + 1} at the {'bottom' if cell > 2 else 'top'}?"
            answers, more = humans(random, color), {"answer_type": "other"} if at % 5 else {}
            rows.append(make_row(picture, 10**9 + len(rows), text, answers, **more))
    names = ("v1_OpenEnded_mscoco_val2017_advqa_questions.json", "v1_mscoco_val2017_advqa_annotations.json")
    world.pair("advqa/val", *names, "val2017", rows)


def _ok_vqa(world: World) -> None:
    """Five people's answers, each twice; `answer` is the stem of `raw_answer`."""
    for part, number in (("train", 20), ("val", 15)):
        random, rows = world.random(f"ok_vqa/{part}"), []
        for at, picture in enumerate(world.some("ok_vqa", part, number)):
            for which, kind in enumerate(sorted({kind for kind, _ in picture.shapes.values()})[: 1 if at % 10 else 2]):
                verb, text = VERBS[kind], f"What can a thing that has the shape of a {kind} do?"
                raws = [raw for raw in random.choices((f"{verb}ing", f"{verb}s", verb, "nothing"), k=5) for _ in "12"]
                answers = ["noth" if raw == "nothing" else verb for raw in raws]
                kinds = {"answer_type": "other", "question_type": TOPICS[at % 11]}
                row = make_row(picture, picture.id * 10 + 5 + which, text, answers, **kinds)
                both = [known | {"raw_answer": raw} for known, raw in zip(numbered(answers), raws, strict=True)]
                rows.append(row.but({}, {"answers": both, "confidence": 3}, {"raw_answers": raws}))
        names = (f"OpenEnded_mscoco_{part}2014_questions.json", f"mscoco_{part}2014_annotations.json")
        world.pair(f"ok_vqa/{part}", *names, f"{part}2014", rows)


def _textvqa(world: World) -> None:
    """Validation's ids continue training's, and its pictures are in train_images; two questions a picture."""
    random, number, rows = world.random("textvqa"), 0, []
    for part, pictures in (("train", 14), ("val", 10)):
        facts, entries = [], []
        for at in range(pictures * world.scale):
            hexed, word, turned = f"{random.getrandbits(64):016x}", random.choice(WORDS), TURNS[part][at % 4]
            turn = int(float(turned)) if turned not in ("", "nan") else 0
            image, urls = f"images/textvqa/train_images/{hexed}.jpg", f"https://example.org/{hexed}"
            size = SIZE[::-1] if turn % 180 else SIZE
            world.save(image, partial(draw_sign, word, turn))
            rows.append([hexed, "train", urls, urls, urls, urls, "Ann", f'A "{word}", seen', 1, "==", urls, turned])
            for text in ("what does the sign say?", "what is written in black on white?"):
                said = random.choices((word.lower(), word.lower(), f"the {word.lower()}", "sign"), k=10)
                known = dict(question_id=number, question=text, question_tokens=text[:-1].split(), image_id=hexed)
                known |= dict(image_classes=["Sign"], image_width=size[0], image_height=size[1], answers=said)
                entries.append(known | dict(flickr_original_url=urls, flickr_300k_url=urls, set_name=part))
                facts.append(make_fact(number, image, text, said, image_id=hexed, rotation=turn))
                number += 1
        world.write(f"textvqa/TextVQA_0.5.1_{part}.json", {"data": entries})
        world.expected[f"textvqa/{part}"] = facts
    with open(world.root / "textvqa/train-images-boxable-with-rotation.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*CSV.split(","), "Thumbnail300KURL", "Rotation"], *rows])


def _vizwiz(world: World) -> None:
    """A list without ids: the place is the id. Every third picture is too dark to see anything; one answer is empty."""
    for part, number in (("train", 15), ("val", 20)):
        random, entries, facts = world.random(f"vizwiz/{part}"), [], []
        for at in range(number * world.scale):
            image, seen = f"images/vizwiz/{part}/VizWiz_{part}_{at:08d}.jpg", at % 3 > 0
            color, kind = random.choice(list(INK)), random.choice(list(KINDS))
            world.save(image, partial(draw_shapes, ((1, (kind, color)),) if seen else (), 225 if seen else 10))
            text, right, sort = VIZWIZ[at % 4 - 1] if seen else ("What is this", "unanswerable", "unanswerable")
            text, right = text.format(kind), right.format(color)
            said = [a if (part, at, n) != ("train", 1, 3) else "" for n, a in enumerate(humans(random, right))]
            answers = [{key: known[key] for key in ("answer", "answer_confidence")} for known in numbered(said)]
            known = dict(image=Path(image).name, question=text, answers=answers)
            entries.append(known | dict(answer_type=sort, answerable=int(seen)))
            facts.append(make_fact(at, image, text, said, answer_type=sort))
        world.write(f"vizwiz/{part}.json", entries)
        world.expected[f"vizwiz/{part}"] = facts


BUILDERS = (_vqav2, _edits, _rephrasings, _cp, _ce, _advqa, _textvqa, _vizwiz, _ok_vqa)
