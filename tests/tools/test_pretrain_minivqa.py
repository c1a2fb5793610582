"""Pre-training of the tiny vision-language models: lessons, resuming, measuring, and the file of weights."""

import hashlib
import json
import sys

import pytest
import safetensors
import torch

from digrap.cli import pretrain_minivqa as tool
from digrap.core.errors import DigrapError
from digrap.data.mini.draw import DOMAINS
from digrap.data.mini.scenes import OBJECTS
from digrap.data.mini.symbols import CLASSES
from digrap.data.mini.vqa import pretraining
from digrap.data.mini.vqa.facts import FACTS, facts_of, told
from digrap.data.mini.vqa.far_twins import READ as TEXTVQA
from digrap.data.mini.vqa.pretraining import CAPTION, PARTS, READ, SINGLE, WHERE, Share, exam, lesson
from digrap.data.mini.vqa.questions import PLACES, WORDINGS
from digrap.data.mini.vqa.words import SIGNS, name_of
from digrap.data.mini.vqa.words import WORDS as VOCABULARY
from digrap.data.mini.vqa.world import Scene
from digrap.models.tiny_processor import check_known

SMALL = ["steps=6", "batch=20", "save_every=2", *(f"{part}=0" for part in PARTS if part != "plain"), "plain=1"]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Calls the tool with its files under tmp_path; returns the folder of its checkpoints."""
    monkeypatch.setattr(tool, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(tool, "REPO", tmp_path)
    sizes = {"single": 2}
    monkeypatch.setattr(tool, "exam", lambda seed, style: exam(seed, style, count=sizes.get(style, 12), each=3))

    def start(*arguments):
        monkeypatch.setattr(sys, "argv", ["pretrain_minivqa.py", *SMALL, "out=w.safetensors", *arguments])
        tool.main()

    start.checkpoints = tmp_path / "outputs" / "pretrain_minivqa"
    start.weights = tmp_path / "w.safetensors"
    return start


@pytest.mark.parametrize("part", PARTS)
def test_a_lesson_depends_on_its_number_alone(part):
    first, again, other = (lesson(0, number, {part: 1}, Share(0.5, 0.3)) for number in (3, 3, 4))
    assert torch.equal(first.images, again.images) and first[1:] == again[1:]
    assert first.images.shape == (60, 3, 48, 48) and first.images.dtype == torch.uint8
    assert not torch.equal(first.images, other.images) and first.answers != other.answers
    check_known([*first.questions, *first.answers])


def test_a_lesson_of_the_first_stage_is_the_one_that_the_shipped_weights_had():
    whole = lesson(0, 1, {"single": 2, "plain": 1}, Share(0.5, 0.15))
    found = hashlib.sha256(whole.images.numpy().tobytes() + repr(whole[1:]).encode()).hexdigest()
    assert found == "b52f3be2dd981a9a770e61ee0b776f8788e512e2123f9d2a2ebbf6cea39263e9"


@pytest.mark.parametrize(("parts", "domains"), [(2, 1), (3, 3), (7, 3)])
def test_single_symbols_fill_the_picture_in_domains_that_fine_tuning_has_not(monkeypatch, parts, domains):
    drawn, draw = [], pretraining.draw

    def noting(glyphs, labels, domain, key, size):
        drawn.append((domain, labels))
        return draw(glyphs, labels, domain, key, size)

    monkeypatch.setattr(pretraining, "draw", noting)
    found = lesson(0, 5, {"single": parts}, Share(0.5))
    assert len(drawn) == len({domain for domain, _ in drawn}) == domains
    assert {domain for domain, _ in drawn} <= {"clipart", "sketch", "painting"}
    labels = [label for _, some in drawn for label in some.tolist()]
    assert sorted(found.answers) == sorted(name_of(CLASSES[label]) for label in labels)
    assert len(labels) == 60 * parts and set(found.questions) == set(SINGLE)
    assert len({image.numpy().tobytes() for image in found.images}) == 60 * parts


def test_captions_of_places_say_where_each_object_is():
    captions, places = (lesson(0, 3, {"plain": 2}, Share(0.0, 0.0, share)) for share in (0.0, 1.0))
    caption_of = {image.numpy().tobytes(): text for image, text in zip(captions.images, captions.answers, strict=True)}
    assert set(captions.questions) == {CAPTION} and set(places.questions) == {WHERE}
    in_order = []
    for image, text in zip(places.images, places.answers, strict=True):
        said = [tuple(part.rsplit(" ", 2)) for part in text.split(" , ")]
        cells = [PLACES.index(f"{height} {side}") for _, height, side in said]
        contents = enumerate(caption_of[image.numpy().tobytes()].split(" , "))
        there = {cell: named.split(" ", 1)[1] for cell, named in contents if named != "none"}
        assert dict(zip(cells, (name for name, _, _ in said), strict=True)) == there
        in_order.append(cells == sorted(cells))
    assert 0.2 < sum(in_order) / len(in_order) < 0.5


def test_questions_about_places_are_as_many_as_wanted():
    def share(places):
        texts = lesson(0, 0, {"plain": 5}, Share(1.0, 0.0, places)).questions
        return sum("left" in text.split() or "bottom" in text.split() for text in texts) / len(texts)

    assert share(0.0) < 0.35 < 0.5 < share(0.5) < share(1.0)


def test_captions_give_way_to_questions():
    asked = [
        sum(text != CAPTION for text in lesson(0, 0, {"plain": 5}, Share(share)).questions) for share in (0, 0.5, 1)
    ]
    assert asked[0] == 0 and 100 < asked[1] < 200 and asked[2] == 300


def test_facts_are_told_of_names_and_asked_of_symbols():
    told_facts, found = set(told()), lesson(0, 0, {"plain": 10}, Share(1.0, 1.0))
    of_names = [row for row in zip(found.questions, found.answers, strict=True) if "symbol" not in row[0]]
    assert 200 < len(of_names) < 400 and set(of_names) <= told_facts
    assert 0.4 < sum(answer == "no" for answer in found.answers) / 600 < 0.6
    assert not any("symbol that is" in text for text in lesson(0, 0, {"plain": 5}, Share(1.0)).questions)


def test_facts_are_those_of_symbols_whose_color_is_theirs_alone():
    star, cat, sun = map(OBJECTS.index, ("star", "cat", "sun"))
    found = facts_of(Scene((star, cat, -1, sun), (0, 1, -1, 1)))
    assert {color for _, color, _ in found} == {0}
    assert {FACTS[place].wording: answer for place, _, answer in found} == {
        "can {} fly ?": "no", "is {} alive ?": "no", "is {} an animal ?": "no", "does {} shine ?": "yes",
        "where is {} found ?": "sky", "is {} used in a game ?": "no",
    }  # fmt: skip


def test_no_lesson_has_a_wording_of_the_tests_that_ask_otherwise():
    whole = lesson(0, 0, {"plain": 30, "words": 5}, Share(1.0, 0.3)).questions
    rephrased = [text.split("{}") for texts in WORDINGS.values() for text in texts[1:]]
    far = [text.split("{}") for text in (*TEXTVQA, *(fact.wording.replace("{}", "the {} symbol") for fact in FACTS))]
    for question in whole:
        for start, *end in (*rephrased, *far):
            thing = end and question.startswith(start) and question.endswith(end[0]) and len(start) > 3
            assert not (thing or question == start), (question, start, end)
    assert set(READ) & set(whole)


def test_an_exam_has_every_kind_and_shares_no_picture_with_a_lesson():
    found = exam(0, "plain", count=30)
    assert set(found.kinds) == {"captions", "counts", "colors", "yes/no", "places", "names", "facts"}
    assert len(found.images) == 30 and max(found.pictures) == 29
    read = exam(0, "words", count=99)
    assert set(read.kinds) == {"words"} and set(read.answers) == set(SIGNS)
    single = exam(0, "single", count=40)
    assert single.kinds == [domain for domain in DOMAINS for _ in range(40)] and set(single.questions) == {SINGLE[0]}
    for of in (found, read, single):
        assert len(of.kinds) == len(of.answers) == len(of.questions) == len(of.pictures)
    seen = {image.numpy().tobytes() for image in lesson(0, 0, {"single": 6}, Share(0)).images}
    assert not seen & {image.numpy().tobytes() for image in single.images}
    pictures = {image.numpy().tobytes() for image in lesson(0, 0, {"plain": 4}, Share(0)).images}
    assert not pictures & {image.numpy().tobytes() for image in found.images}


def test_an_interrupted_training_goes_on_bit_for_bit(started, capsys):
    started()
    whole = started.weights.read_bytes()
    for file in started.checkpoints.iterdir():
        file.unlink()
    started.weights.unlink()
    started("stop=3")
    assert not started.weights.exists() and len(list(started.checkpoints.iterdir())) == 1
    started("threads=1")
    assert started.weights.read_bytes() == whole
    printed = capsys.readouterr().out
    assert "plain: captions " in printed and "real: captions " in printed and "shuffled counts" in printed
    assert 'WEIGHTS_SHA256["tiny_paligemma"] = "' in printed


def test_the_second_stage_goes_on_from_the_weights_of_the_first(started, monkeypatch):
    monkeypatch.setattr(tool, "measure", lambda *_: {})
    started("steps=2")
    first, second = started.weights, started.weights.with_name("second.safetensors")
    started(f"start={first}", f"out={second}", "steps=1", "lr=0.0")  # a rate of zero leaves weights as they are
    with safetensors.safe_open(first, "pt") as one, safetensors.safe_open(second, "pt") as other:
        assert all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118
        about = json.loads(other.metadata()["about"])
    assert about["start_sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert about["options"]["places"] == tool.SECOND["places"] > tool.DEFAULTS["places"] == 0
    made = set(started.checkpoints.iterdir())
    started("model=tiny_paligemma", "steps=3")
    started(f"start={first}", f"out={second}", "steps=1", "lr=0.0")
    assert len(set(started.checkpoints.iterdir()) - made) == 2  # of another first stage, another training


def test_its_weights_are_those_of_the_backbone(started):
    started("model=tiny_llava", "steps=2")
    backbone = tool.random_backbone("tiny_llava")
    from digrap.models.weights import WeightFile

    WeightFile.find(started.weights, "").load_into(backbone.module)
    (checkpoint,) = started.checkpoints.glob("tiny_llava-*.pt")
    trained = torch.load(checkpoint, weights_only=True)["module"]
    assert all(torch.equal(value, trained[name].half().float()) for name, value in backbone.module.state_dict().items())


def test_a_measure_counts_exact_answers_and_exchanges_pictures(monkeypatch):
    """A model that reads the answer off the picture is perfect, and wrong where pictures are exchanged."""
    of = exam(0, "plain", count=8, each=2)
    answers = {}
    for question, number, answer in zip(of.questions, of.pictures, of.answers, strict=True):
        answers[of.images[number].permute(1, 2, 0).numpy().tobytes(), question] = answer

    def perfect(_, pictures, questions):
        return [answers.get((picture.tobytes(), text), "") for picture, text in zip(pictures, questions, strict=True)]

    monkeypatch.setattr(tool, "said", perfect)
    found = tool.measure(None, of)
    assert {value for key, value in found.items() if "shuffled" not in key} == {100.0}
    assert sum(value for key, value in found.items() if "shuffled" in key) < 100


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model=paligemma", "model=paligemma: choose one of tiny_paligemma, tiny_llava"),
        ("steps=0", "steps=0: give a whole number of at least 1"),
        ("steps=many", "steps=many: give a whole number"),
        ("stop=x", "stop=x: give a whole number"),
        ("asking=2", "asking=2.0: give a number from 0 to 1"),
        ("batch=61", "batch=61: more pictures than a lesson has"),
        ("plain=-1", "plain=-1: give a whole number of at least 0"),
        ("places=1.5", "places=1.5: give a number from 0 to 1"),
        ("start=x.st", r"start=.*/x.st: there is no such file; `python .*pretrain_minivqa.py .* out=x.st` makes it"),
        ("plan=1", "unknown argument 'plan=1'"),
    ],
)
def test_bad_options(started, argument, message):
    with pytest.raises(DigrapError, match=message):
        started(argument)


def test_a_damaged_checkpoint_is_named(started):
    started("stop=2")
    (file,) = started.checkpoints.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DigrapError, match=f"{file} is damaged .*; delete it to start afresh"):
        started()
    file.unlink()
    started("stop=2")


def test_every_word_is_in_the_vocabulary():
    assert set(CAPTION.split()) <= set(VOCABULARY)
