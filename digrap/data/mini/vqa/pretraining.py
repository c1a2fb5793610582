"""What the tiny vision-language models are pre-trained on: general scenes, captions and questions without any prior.

Pictures are drawn in parts of 60. The parts of a lesson are scenes in a style, scenes with a written word (style plain)
and single symbols as the miniature DomainNet draws them. Scenes have no habits (see world.py). Questions have the
wordings of `pretraining_texts`: those of Rephrasings, TextVQA and OK-VQA are never seen, nor any set's pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from digrap.data.mini.draw import draw
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.scenes import CHUNK, STYLES, draw_scenes
from digrap.data.mini.symbols import CLASSES
from digrap.data.mini.vqa.facts import told
from digrap.data.mini.vqa.questions import caption_of, pretraining_texts, random_questions
from digrap.data.mini.vqa.words import SIGNS, name_of
from digrap.data.mini.vqa.world import Scene, as_tensors, sample_scenes

STREAM = 4  # the sets of minivqa draw from 3
TRAIN, TEST = 0, 1  # splits of the stream
CAPTION = "name each symbol in the image"
READ = ("which word is written here ?", "read the word that is in the picture", "what does the image say ?")
SINGLE = ("what is in the image ?", "what do you see here ?", "which symbol shows the picture ?")
SINGLE_DOMAINS = ("clipart", "sketch", "painting")
WORDS, SINGLES = "words", "single"
PARTS = (*STYLES, WORDS, SINGLES)
FACT = 0.05  # share of questions in whose place a fact about an object is told, whatever the picture


class Lesson(NamedTuple):
    """N pictures uint8 (N, 3, 48, 48), for each a text and what is to be said to it."""

    images: torch.Tensor
    questions: list[str]
    answers: list[str]

    def part(self, start: int, stop: int) -> Lesson:
        """Examples `start` to `stop` - 1."""
        return Lesson(self.images[start:stop], self.questions[start:stop], self.answers[start:stop])


def lesson(seed: int, number: int, parts: Mapping[str, int], asking: float, split: int = TRAIN) -> Lesson:
    """Lesson `number`, in random order: 60 pictures for each of `parts` {style, "words" or "single": how many}.

    A picture has a question with probability `asking`, else its caption. It depends on the arguments alone.
    """
    made, generator = [], np.random.default_rng([STREAM, seed, split, number])
    for place, (name, count) in enumerate(parts.items()):
        if count:
            key = (STREAM, seed, (split * 2**20 + number) * len(PARTS) + place)
            made.append(_MAKERS.get(name, _scenes)(name, count * CHUNK, key, generator, asking))
    whole = Lesson(
        torch.cat([part.images for part in made]),
        [text for part in made for text in part.questions],
        [text for part in made for text in part.answers],
    )
    order = generator.permutation(len(whole.answers)).tolist()
    return Lesson(whole.images[order], [whole.questions[k] for k in order], [whole.answers[k] for k in order])


def drawn(scenes: list[Scene], style: str, key: tuple[int, int, int], words: list[str] | None = None) -> torch.Tensor:
    """Pictures of scenes, uint8 (N, 3, 48, 48)."""
    return torch.cat(list(draw_scenes(as_tensors(scenes), style, key, words=words)))


def _one(generator: np.random.Generator, values):
    return values[int(generator.random() * len(values))]


def _scenes(style: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, asking: float) -> Lesson:
    scenes, facts = sample_scenes(generator, count, habits=False), told()
    questions, answers = [], []
    asked = generator.random(count) < asking
    for scene, ask, [(about, answer)] in zip(scenes, asked, random_questions(scenes, generator), strict=True):
        if not ask:
            question, answer = CAPTION, caption_of(scene)
        elif generator.random() < FACT:
            question, answer = _one(generator, facts)
        else:
            question = _one(generator, pretraining_texts(about))
        questions.append(question)
        answers.append(answer)
    return Lesson(drawn(scenes, style, key), questions, answers)


def _words(_: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, asking: float) -> Lesson:
    scenes, answers = [], []
    for scene in sample_scenes(generator, count, habits=False):
        half = int(generator.random() * 2)
        scenes.append(scene.without(2 * half).without(2 * half + 1))
        answers.append(_one(generator, SIGNS))
    images = drawn(scenes, "plain", key, [word.upper() for word in answers])
    return Lesson(images, [_one(generator, READ) for _ in answers], answers)


def _single(_: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, asking: float) -> Lesson:
    labels = torch.from_numpy(generator.integers(len(CLASSES), size=count))
    domain = _one(generator, SINGLE_DOMAINS)
    images = torch.cat(list(draw(load_glyphs(), labels, domain, key, 48)))
    return Lesson(images, [_one(generator, SINGLE) for _ in labels], [name_of(CLASSES[k]) for k in labels.tolist()])


_MAKERS = {WORDS: _words, SINGLES: _single}


class Exam(NamedTuple):
    """Scenes of one style with all their questions, and the captions: what a pre-trained model is measured on.

    `kinds` has the kind of each question; `pictures` the number of its picture.
    """

    images: torch.Tensor
    captions: list[str]
    questions: list[str]
    answers: list[str]
    kinds: list[str]
    pictures: list[int]


EXAM_KINDS = {"count": "counts", "color": "colors", "there": "yes/no", "side": "places", "height": "places"}
"""First word of a form → kind; the others are "names"."""


def exam(seed: int, style: str, count: int = 300, each: int = 4) -> Exam:
    """`count` scenes that no lesson has, with `each` questions in the wording of fine-tuning."""
    generator = np.random.default_rng([STREAM, seed, TEST, list(STYLES).index(style)])
    scenes = sample_scenes(generator, count, habits=False)
    images = drawn(scenes, style, (STREAM, seed, TEST * 2**20 * len(PARTS)))
    rows = [
        (pretraining_texts(ask)[0], answer, EXAM_KINDS.get(ask.form.split()[0], "names"), number)
        for number, asked in enumerate(random_questions(scenes, generator, each))
        for ask, answer in asked
    ]
    return Exam(images, [caption_of(scene) for scene in scenes], *map(list, zip(*rows, strict=True)))
