"""Each of the small VQA sets against what is known of its official files: keys, types, order, and every trap."""

from __future__ import annotations

import csv
from collections import Counter

import pytest
from PIL import Image

from tests.data.make_vqa import make
from tests.data.test_make_vqa import CE, PAIRS, pair, read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("vqa"))


def test_vqav2(made):
    assert len(made.expected["vqav2/train"]) == 180 and len(made.expected["vqav2/val"]) == 120
    for part in ("train", "val"):
        questions, annotations = pair(made, f"vqav2/{part}")
        assert all(set(question) == {"image_id", "question", "question_id"} for question in questions)
        assert all(question["question_id"] // 1000 == question["image_id"] for question in questions)
        assert {annotation["answer_type"] for annotation in annotations} == {"yes/no", "number", "other"}
        for annotation in annotations:
            answers = Counter(answer["answer"] for answer in annotation["answers"]).most_common(2)
            assert annotation["multiple_choice_answer"] == answers[0][0]
            assert len(answers) == 1 or answers[0][1] > answers[1][1]
        assert {len(set(fact["answers"])) == 1 for fact in made.expected[f"vqav2/{part}"]} == {True, False}
    ids = [fact["question_id"] for part in ("train", "val") for fact in made.expected[f"vqav2/{part}"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["iv_vqa", "cv_vqa"])
def test_edits_share_ids_and_have_no_head(made, name):
    for file, key in zip(PAIRS[f"{name}/val"], ("questions", "annotations"), strict=True):
        assert set(read(made, f"{name}/{file}.json")) == {key}
    questions, annotations = pair(made, f"{name}/val")
    assert max(Counter(question["question_id"] for question in questions).values()) > 1
    ids = [(question["question_id"], question["image_id"]) for question in questions]
    assert len(set(ids)) == len(ids)
    known = {fact["question_id"]: fact for fact in made.expected["vqav2/val"]}
    for question, annotation, fact in zip(questions, annotations, made.expected[f"{name}/val"], strict=True):
        left, right = question["image_id"].split("_")
        assert len(left) == len(right) == 12 and int(left) == question["question_id"] // 1000
        assert fact["image"] == f"images/{name.replace('_', '-')}/val2014/COCO_val2014_{left}_{right}.jpg"
        assert fact["origin"] == fact["question_id"]
        assert fact["question"] == known[fact["origin"]]["question"]
        assert len(set(fact["answers"])) == len(set(known[fact["origin"]]["answers"])) == 1
        said, before = fact["answers"][0], annotation["multiple_choice_answer"]
        if name == "iv_vqa":
            assert said == before == known[fact["origin"]]["answers"][0]
        else:
            assert int(said) == int(before) - 1 >= 0
            assert "many" in fact["question"] or "number of" in fact["question"]


def test_rephrasings(made):
    facts = made.expected["vqa_rephrasings/val"]
    val = {fact["question_id"]: fact for fact in made.expected["vqav2/val"]}
    originals = {fact["question_id"]: fact for fact in facts if not fact["rephrasing_of"]}
    others = [fact for fact in facts if fact["rephrasing_of"]]
    for fact, question in zip(facts, pair(made, "vqa_rephrasings/val")[0], strict=True):
        assert ("rephrasing_of" in question) == bool(fact["rephrasing_of"])
    assert all(originals[number] == val[number] for number in originals)
    for fact in others:
        of = originals[fact["rephrasing_of"]]
        assert (fact["image"], fact["answers"], fact["origin"]) == (of["image"], of["answers"], of["question_id"])
    counts = Counter(Counter(fact["rephrasing_of"] for fact in others).values())
    assert set(counts) == {3, 4} and counts[4] == 1 and len(originals) == sum(counts.values())
    texts = [fact["question"] for fact in others]
    assert texts.count("") == texts.count("?") == 1 and sum(text.endswith("/") for text in texts) == 1
    clashing = [fact for fact in others if fact["question_id"] in val]
    assert sorted(fact["question_id"] in originals for fact in clashing) == [False, True]
    for fact in clashing:  # by its number alone it would be taken for a question on the same picture
        assert val[fact["question_id"]]["image"] == fact["image"]
        assert val[fact["question_id"]]["answers"] != fact["answers"]
    ids = [(fact["rephrasing_of"], fact["question_id"]) for fact in facts]
    assert len(set(ids)) == len(ids)


def test_cp_divides_all_questions_by_answer(made):
    every = {fact["question_id"]: fact for part in ("train", "val") for fact in made.expected[f"vqav2/{part}"]}
    seen, kinds = [], {}
    for part in ("train", "test"):
        questions, annotations = pair(made, f"vqa_cp/{part}")
        assert {question["coco_split"] for question in questions} == {"train2014", "val2014"}
        for question, fact in zip(questions, made.expected[f"vqa_cp/{part}"], strict=True):
            assert f"/{question['coco_split']}/" in fact["image"]
            assert fact == every[fact["question_id"]]
            seen.append(fact["question_id"])
        kinds[part] = {(one["question_type"], one["multiple_choice_answer"]) for one in annotations}
    assert sorted(seen) == sorted(every)
    assert not kinds["train"] & kinds["test"]


def test_ce(made):
    facts = made.expected["vqav2/val"]
    ids = {part: read(made, f"vqa_ce/{part}.json") for part in ("counterexamples", "hard")}
    for part, numbers in ids.items():
        assert all(type(number) is int for number in numbers)
        expected = [int(fact["question_id"]) for fact in made.expected[f"vqa_ce/{part}"]]
        assert sorted(numbers) == sorted(expected) and len(numbers) > 1
    assert not set(ids["counterexamples"]) & set(ids["hard"])
    assert sum(len(made.expected[key]) for key in CE) == len(facts)
    for key in CE:
        assert made.expected[key] == [fact for fact in facts if fact in made.expected[key]]


def test_advqa(made):
    questions, annotations = pair(made, "advqa/val")
    assert read(made, f"advqa/{PAIRS['advqa/val'][0]}.json")["data_subtype"] == "val2017"
    val = {fact["image_id"] for fact in made.expected["vqav2/val"]}
    assert {str(question["image_id"]) for question in questions} <= val
    assert not any("question_type" in annotation for annotation in annotations)
    assert {"answer_type" in annotation for annotation in annotations} == {True, False}
    known = {fact["question_id"] for part in ("train", "val") for fact in made.expected[f"vqav2/{part}"]}
    assert not known & {fact["question_id"] for fact in made.expected["advqa/val"]}
    assert all(not fact["origin"] and "/val2014/COCO_val2014_" in fact["image"] for fact in made.expected["advqa/val"])


def test_textvqa(made):
    with open(made.root / "textvqa/train-images-boxable-with-rotation.csv", encoding="utf-8", newline="") as file:
        rows = {row["ImageID"]: row for row in csv.DictReader(file)}
    assert {"", "nan", "0.0", "90.0", "270.0"} == {row["Rotation"] for row in rows.values()}
    ids, turned = [], set()
    for part in ("train", "val"):
        entries = read(made, f"textvqa/TextVQA_0.5.1_{part}.json")["data"]
        for entry, fact in zip(entries, made.expected[f"textvqa/{part}"], strict=True):
            assert set(entry) == {
                "question_id", "question", "question_tokens", "image_id", "image_classes", "image_width",
                "image_height", "flickr_original_url", "flickr_300k_url", "set_name", "answers",
            }  # fmt: skip
            assert entry["set_name"] == part and entry["answers"] == fact["answers"]
            assert fact["image"] == f"images/textvqa/train_images/{entry['image_id']}.jpg"
            assert fact["picture"] == f"textvqa:{entry['image_id']}.jpg"
            assert all(answer == answer.lower() for answer in entry["answers"])
            ids.append(entry["question_id"])
            with Image.open(made.root / fact["image"]) as image:
                assert image.size == (entry["image_width"], entry["image_height"])
                upright = image.rotate(fact["rotation"], expand=True)
                sky, grass = upright.getpixel((2, 2)), upright.getpixel((2, 37))
            assert sky[2] > 200 > grass[2], "the sky is not up"
            turned.add(fact["rotation"])
            assert fact["rotation"] == float(rows[entry["image_id"]]["Rotation"].replace("nan", "") or 0)
    assert ids == list(range(len(ids)))
    assert turned == {0, 90, 270}
    assert any(answer.startswith("the ") for fact in made.expected["textvqa/val"] for answer in fact["answers"])


def test_vizwiz(made):
    for part in ("train", "val"):
        entries = read(made, f"vizwiz/{part}.json")
        for at, (entry, fact) in enumerate(zip(entries, made.expected[f"vizwiz/{part}"], strict=True)):
            assert set(entry) == {"image", "question", "answers", "answer_type", "answerable"}
            assert all(set(answer) == {"answer", "answer_confidence"} for answer in entry["answers"])
            assert fact["question_id"] == str(at) and entry["image"] == f"VizWiz_{part}_{at:08d}.jpg"
            assert fact["image"] == f"images/vizwiz/{part}/{entry['image']}"
            assert entry["answerable"] == (entry["answer_type"] != "unanswerable")
            assert (entry["answer_type"], None) == (fact["answer_type"], fact["question_type"])
        assert {entry["answer_type"] for entry in entries} == {"other", "yes/no", "number", "unanswerable"}
        empty = sum(answer["answer"] == "" for entry in entries for answer in entry["answers"])
        assert empty == (part == "train")


def test_ok_vqa(made):
    kinds = set()
    for part in ("train", "val"):
        for annotation, fact in zip(pair(made, f"ok_vqa/{part}")[1], made.expected[f"ok_vqa/{part}"], strict=True):
            answers, raws = fact["answers"], [answer["raw_answer"] for answer in annotation["answers"]]
            assert raws == fact["raw_answers"] and raws[::2] == raws[1::2] and answers[::2] == answers[1::2]
            assert all(raw.startswith(answer) for raw, answer in zip(raws, answers, strict=True))
            assert annotation["answer_type"] == "other"
            kinds.add(annotation["question_type"])
        pictures = Counter(fact["image"] for fact in made.expected[f"ok_vqa/{part}"])
        assert set(pictures.values()) == {1, 2}
        assert any(fact["answers"] != fact["raw_answers"] for fact in made.expected[f"ok_vqa/{part}"])
    assert kinds == {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "other"}
