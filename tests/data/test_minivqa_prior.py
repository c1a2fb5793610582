"""What a model gets on minivqa without seeing, as the docstring and docs/minivqa.md state it; the vocabulary."""

import numpy as np
import pytest

from digrap.core.paths import REPO
from digrap.data.mini import vqa
from digrap.data.mini.vqa import adversary, facts, twins
from digrap.data.mini.vqa.questions import Ask, answer_of, caption_of, pretraining_texts, random_questions, text_of
from digrap.data.mini.vqa.rows import generator_of
from digrap.data.mini.vqa.twins import Sizes
from digrap.data.mini.vqa.words import WORDS
from digrap.data.mini.vqa.world import Scene, companion, favorite, sample_scenes
from digrap.data.vqa.protocols import draw
from tests.data.minivqa import prior, score


@pytest.fixture(scope="module")
def test_rows():
    """The ID test of seed 0 in its full size."""
    rows = {str(row.number): row for row in twins.vqav2(0, "val", Sizes().val)}
    return [rows[number] for number in draw(list(map(str, range(Sizes().train))), list(rows), "clean", 1.0, 0.5).test]


def test_accuracies_without_seeing_are_the_stated_ones(test_rows):
    of_type, of_form = prior(lambda ask: ask.question_type), prior(lambda ask: ask.form)
    said = adversary.load()([row.text for row in test_rows], [row.picture.scene for row in test_rows])
    found = [
        score(test_rows, [of_type[row.ask.question_type] for row in test_rows]),
        score(test_rows, [of_form[row.ask.form] for row in test_rows]),
        score(test_rows, said),
    ]
    assert found == [40.7, 46.7, 60.0]
    assert all(f"{value} %" in vqa.__doc__ for value in found)
    text = (REPO / "docs" / "minivqa.md").read_text()
    assert f"| question type | {found[0]} |" in text and f"| adversary | {found[2]} |" in text


def test_the_vocabulary_is_closed_and_holds_every_wording():
    generator = generator_of(0, "words")
    scenes = sample_scenes(generator, 2000, habits=False)
    texts = [caption_of(scene) for scene in scenes]
    training, pretraining, rephrased = set(), set(), set()
    for found in random_questions(scenes, generator, each=3):
        for ask, answer in found:
            training.add(text_of(ask))
            rephrased |= {text_of(ask, wording) for wording in (1, 2, 3)}
            pretraining |= set(pretraining_texts(ask))
            texts.append(answer)
    told = [text for pair in facts.told() for text in pair]
    words = {word for text in [*texts, *training, *rephrased, *pretraining, *told] for word in text.split()}
    assert words <= set(WORDS) and len(set(WORDS)) == len(WORDS) <= 200
    assert not rephrased & (training | pretraining)
    assert {word for text in rephrased for word in text.split()} <= {
        word for text in training | pretraining for word in text.split()
    }


def test_answers_by_hand():
    scene = Scene((12, 12, -1, 0), (1, 0, -1, 1))  # yellow star, red star, none, yellow airplane
    assert caption_of(scene) == "yellow star , red star , none , yellow airplane"
    for ask, text, answer in (
        (Ask("count kind", kind=12), "how many star symbols are there ?", "2"),
        (Ask("count color", color=1), "how many yellow symbols are there ?", "2"),
        (Ask("count all"), "how many symbols are there ?", "3"),
        (Ask("color", kind=0), "what color is the airplane ?", "yellow"),
        (Ask("color", kind=12), "what color is the star ?", None),
        (Ask("there kind", kind=0), "is there an airplane ?", "yes"),
        (Ask("there color", color=3), "is there a blue symbol ?", "no"),
        (Ask("there both", kind=12, color=1), "is there a yellow star ?", "yes"),
        (Ask("side", kind=0), "is the airplane at the left or at the right ?", "right"),
        (Ask("height", kind=0), "is the airplane at the top or at the bottom ?", "bottom"),
        (Ask("at", cell=1), "what is at the top right ?", "star"),
        (Ask("at", cell=2), "what is at the bottom left ?", None),
        (Ask("of color", color=0), "what is the red symbol ?", "star"),
        (Ask("of color", color=1), "what is the yellow symbol ?", None),
        (Ask("only"), "what is in the image ?", None),
    ):
        assert (text_of(ask), answer_of(ask, scene)) == (text, answer)


def test_objects_have_habits_unless_they_are_asked_not_to():
    for habits, usual in ((True, 0.5), (False, 1 / 6)):
        scenes = sample_scenes(generator_of(0, "habits"), 6000, habits)
        there = np.array([pair for scene in scenes for pair in zip(*scene, strict=True) if pair[0] >= 0])
        assert (favorite(there[:, 0]) == there[:, 1]).mean() == pytest.approx(usual, abs=0.02)
        twos = [[kind for kind in scene.objects if kind >= 0] for scene in scenes if len(scene.cells()) == 2]
        pairs = [companion(np.array(first)) == second for first, second in twos]
        assert (np.mean(pairs) > 0.15) == habits


def test_two_trainings_of_the_adversary_are_the_shipped_one(tmp_path):
    assert adversary.SHA256 in adversary.make(tmp_path / "adversary.npz")
