"""Each set of minivqa differs from ID in what its twin says, and only there."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import asdict, replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from digrap.core.paths import REPO
from digrap.data.mini.scenes import DEFECTS, OBJECTS
from digrap.data.mini.vqa import adversary, far_twins, twins
from digrap.data.mini.vqa.facts import FACTS
from digrap.data.mini.vqa.folder import sets_of
from digrap.data.mini.vqa.questions import PLACES, answer_of, text_of
from digrap.data.mini.vqa.rows import FIRST, quotas
from digrap.data.mini.vqa.shortcuts import CONFIDENCE, SUPPORT
from digrap.data.mini.vqa.twins import Sizes
from digrap.data.mini.vqa.words import SIGNS
from digrap.data.mini.vqa.world import COLOR_NAMES, OBJECT_NAMES, PRIORS, prior
from digrap.runs.predictions import read_bundle
from digrap.tables.spec import load_table
from tests.data.minivqa import SMALL
from tests.reference import shortcuts

TYPED = ("vqav2_train", "vqav2_val", "iv_vqa", "cv_vqa", "vqa_rephrasings", "vqa_cp", "advqa")


@pytest.fixture(scope="module")
def made():
    return sets_of(0, SMALL)


@pytest.fixture(scope="module")
def sets(made):
    return made[0]


@pytest.fixture(scope="module")
def originals(sets):
    return {row.number: row for row in sets["vqav2_val"]}


def test_the_sizes_are_those_of_the_config():
    config = OmegaConf.load(REPO / "configs" / "dataset" / "minivqa.yaml").dataset
    assert OmegaConf.to_container(config.sizes) == asdict(Sizes())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_every_set_has_1000_to_3000_questions(seed):
    """Sets that rules choose have as many as the rules find; seed 4 has the fewest of AdVQA."""
    made, chosen = sets_of(seed, Sizes())
    counts = {name: len(rows) for name, rows in made.items()} | {"vqa_ce": len(chosen["counterexamples"])}
    assert (counts.pop("vqav2_train"), counts.pop("vqav2_val")) == (8000, 4000)
    assert len(counts) == 9 and all(1000 <= count <= 3000 for count in counts.values()), counts


def test_sizes_are_kept(sets):
    sizes = asdict(SMALL) | {"vqav2_train": SMALL.train, "vqav2_val": SMALL.val}
    assert {name: len(rows) for name, rows in sets.items()} == {name: sizes[name] for name in sets}


@pytest.mark.parametrize("name", TYPED)
def test_every_answer_is_what_the_scene_says(sets, name):
    for row in sets[name]:
        assert answer_of(row.ask, row.picture.scene) == row.answer
        assert Counter(row.answers).most_common(1)[0][0] == row.answer and len(row.answers) == 10


def test_pictures_are_drawn_alike_but_for_what_a_far_set_says(sets):
    for name, rows in sets.items():
        assert {row.picture.style for row in rows} == {"infograph" if name == "textvqa" else "real"}
        assert {row.picture.defect for row in rows} == (set(DEFECTS) if name == "vizwiz" else {""})
        assert all(bool(row.picture.word) == (name == "textvqa") for row in rows)


def test_no_picture_is_in_training_and_in_a_test(sets):
    streams = {name: {row.picture.name for row in rows} for name, rows in sets.items()}
    assert streams["vqav2_train"] == {"train"}
    assert not any("train" in found for name, found in streams.items() if name != "vqav2_train")
    files = defaultdict(set)
    for rows in sets.values():
        for row in rows:
            files[row.picture.file].add(row.picture)
    assert max(map(len, files.values())) == 1


def test_iv_is_the_same_question_without_an_object_it_does_not_ask_about(sets, originals):
    for row in sets["iv_vqa"]:
        original = originals[row.number]
        assert (row.text, row.answer, row.answers) == (original.text, original.answer, original.answers)
        assert set(row.answers) == {row.answer}
        (cell,) = changed(row, original)
        scene = original.picture.scene
        spoken = (OBJECT_NAMES[scene.objects[cell]], COLOR_NAMES[scene.colors[cell]], PLACES[cell], "many symbols")
        assert not any(words in row.text for words in spoken)
        assert int(row.picture.id.split("_")[1]) == original.picture.scene.objects[cell] + 1
        assert row.picture[3:5] == original.picture[3:5]  # drawn with the same random numbers


def test_cv_is_the_same_question_without_one_of_the_counted(sets, originals):
    for row in sets["cv_vqa"]:
        original = originals[row.number]
        assert row.text == original.text and row.text.startswith("how many")
        (cell,) = changed(row, original)
        assert cell in original.picture.scene.cells(original.ask.kind, original.ask.color)
        assert row.answers == (str(int(original.answer) - 1),) * 10
        assert row.picture[3:5] == original.picture[3:5]


def changed(row, original):
    """The cells that differ; they must be empty in the edit."""
    pairs = list(zip(zip(*row.picture.scene, strict=True), zip(*original.picture.scene, strict=True), strict=True))
    cells = [cell for cell, (now, before) in enumerate(pairs) if now != before]
    assert all(pairs[cell][0] == (-1, -1) for cell in cells)
    return cells


def test_rephrasings_change_the_words_alone(sets, originals):
    groups = defaultdict(list)
    for row in sets["vqa_rephrasings"]:
        groups[row.number - row.number % 1000 + row.number % 100].append(row)
    for number, rows in groups.items():
        original = originals[number]
        assert [row.text for row in rows] == [text_of(original.ask, wording) for wording in range(4)]
        assert len({row.text for row in rows}) == 4 and rows[0].text == original.text
        assert {row[1:3] + row[4:] for row in rows} == {original[1:3] + original[4:]}
    training = {text_of(row.ask, wording) for row in sets["vqav2_train"] for wording in (1, 2, 3)}
    assert not training & {row.text for row in sets["vqav2_train"]}


def test_the_prior_of_training_and_validation_is_the_stated_one_and_cps_its_reverse(sets):
    for name, reverse in (("vqav2_train", False), ("vqav2_val", False), ("vqa_cp", True)):
        rows = sets[name]
        assert Counter((row.ask.form, row.answer) for row in rows) == Counter(quotas(len(rows), reverse))
    for form in PRIORS:
        usual, turned = prior(form), prior(form, reverse=True)
        assert list(usual) == list(turned) and list(usual.values()) == list(turned.values())[::-1]
        assert max(usual, key=usual.get) == min(turned, key=turned.get)


def test_cp_asks_the_same_forms_as_training(sets):
    shares = [Counter(row.ask.form for row in sets[name]) for name in ("vqav2_train", "vqa_cp")]
    for form in shares[0]:
        assert shares[0][form] / SMALL.train == pytest.approx(shares[1][form] / SMALL.vqa_cp, abs=0.02)


def test_every_counterexample_is_contradicted_by_a_matching_rule(made):
    sets, listed = made
    train = [plain(row) + (row.answer,) for row in sets["vqav2_train"]]
    rules = shortcuts.mine(train, SUPPORT, CONFIDENCE)
    kinds = {row.number: shortcuts.judge(rules, *plain(row), row.answers) for row in sets["vqav2_val"]}
    for part in ("counterexamples", "hard"):
        assert listed[part] == [number for number, kind in kinds.items() if kind == part]
    assert 0.1 < len(listed["counterexamples"]) / SMALL.val < 0.5


def plain(row):
    return row.text, [OBJECTS[kind] for kind in row.picture.scene.objects if kind >= 0]


def test_the_adversary_is_wrong_on_each_question_of_advqa_and_right_on_half_of_id(sets):
    shipped = adversary.load()
    rows = sets["advqa"]
    said = shipped([row.text for row in rows], [row.picture.scene for row in rows])
    assert not any(answer in row.answers for answer, row in zip(said, rows, strict=True))
    rows = sets["vqav2_val"]
    said = shipped([row.text for row in rows], [row.picture.scene for row in rows])
    assert 0.5 < np.mean([answer == row.answer for answer, row in zip(said, rows, strict=True)]) < 0.65


def test_textvqa_asks_for_the_word_that_is_written(sets):
    for row in sets["textvqa"]:
        assert row.answer in SIGNS and row.picture.word == row.answer.upper()
        objects = row.picture.scene.objects
        written = 0 if not row.picture.scene.cells() or max(objects[:2]) < 0 else 1
        assert max(objects[2 * written : 2 * written + 2]) == -1
        assert ("bottom" if written else "top") in row.text or " at " not in row.text


def test_vizwiz_asks_about_spoiled_pictures_and_some_of_what_is_not_there(sets):
    asked = Counter(row.answer == far_twins.UNANSWERABLE for row in sets["vizwiz"])
    assert 0.15 < asked[True] / SMALL.vizwiz < 0.45
    for row in sets["vizwiz"]:
        right = answer_of(row.ask, row.picture.scene)
        assert right == (None if row.answer == far_twins.UNANSWERABLE else row.answer)
    assert len({row.picture.file for row in sets["vizwiz"]}) == SMALL.vizwiz


def test_okvqa_asks_for_facts_about_the_symbol_of_a_color(sets):
    found = Counter()
    for row in sets["ok_vqa"]:
        fact = FACTS[int(row.ask.form.split()[1])]
        (cell,) = row.picture.scene.cells(color=row.ask.color)
        label = OBJECTS[row.picture.scene.objects[cell]]
        assert row.answer == fact.of(label)
        assert row.text == fact.wording.format(f"the {COLOR_NAMES[row.ask.color]} symbol")
        assert label not in row.text
        found[row.ask.form, row.answer] += 1
    assert len({form for form, _ in found}) == len(FACTS)
    assert all(len({answer for of, answer in found if of == form}) > 1 for form, _ in found)


def test_seeds_are_fresh_and_a_set_does_not_depend_on_the_others():
    again = twins.vqa_cp(0, 60)
    assert again == twins.vqa_cp(0, 60) != twins.vqa_cp(1, 60)
    assert far_twins.vizwiz(0, 50) != far_twins.vizwiz(1, 50)
    small, more = (sets_of(0, replace(SMALL, textvqa=count))[0] for count in (50, 60))
    assert all(small[name] == more[name] for name in small if name != "textvqa")


def test_the_questions_are_those_of_the_published_table():
    """Of any version of Python: its `sum` rounds in another way since 3.12, and a share's last bit decides how many
    questions have an answer."""
    published, cell = REPO / "docs" / "results" / "mini_3", load_table("mini_3").cell("zero-shot", 0)
    bundle = read_bundle(published / "runs" / f"{cell.hash}.npz", published)
    assert [str(row.number) for row in twins.advqa(0, Sizes().advqa)] == bundle.ids("advqa")
    asked = [(row.text, row.answers) for row in far_twins.vizwiz(0, Sizes().vizwiz)]
    assert hashlib.sha256(repr(asked).encode()).hexdigest()[:10] == "00641975bb"  # as Python 3.12 has made it


def test_ids_have_room(sets):
    firsts = sorted(FIRST.values())
    for name in ("vqav2_train", "vqav2_val", "vqa_cp", "advqa", "ok_vqa"):
        first = FIRST[name.removeprefix("vqav2_")]
        assert {first <= int(row.picture.id) < first + 100_000 for row in sets[name]} == {True}
        assert min(firsts[place + 1] - firsts[place] for place in range(len(firsts) - 1)) == 100_000
