"""What the tiny vision-language models are pre-trained on: general scenes, captions and questions without any prior.

Pictures are drawn in parts of 60. The parts of a lesson are scenes in a style, scenes with a written word (style plain)
and single symbols of the picture's size, as the miniature DomainNet draws them in three of its domains. Scenes have no
habits (see world.py). Questions have the wordings of `pretraining_texts`; facts are told of an object's name ("can a
star fly ?"), or asked of a symbol in the picture ("can the symbol that is red fly ?"). The wordings of Rephrasings,
TextVQA and OK-VQA are never seen, nor any set's pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from digrap.data.mini.draw import DOMAINS, draw
from digrap.data.mini.glyphs import load_glyphs
from digrap.data.mini.scenes import CHUNK, STYLES, draw_scenes
from digrap.data.mini.symbols import CLASSES
from digrap.data.mini.vqa.facts import FACTS, facts_of, told
from digrap.data.mini.vqa.questions import PLACES, WORDINGS, Ask, caption_of, pretraining_texts, random_questions
from digrap.data.mini.vqa.words import SIGNS, name_of
from digrap.data.mini.vqa.world import COLOR_NAMES, OBJECT_NAMES, Scene, as_tensors, sample_scenes

STREAM = 4  # the sets of minivqa draw from 3
TRAIN, TEST = 0, 1  # splits of the stream
CAPTION = "name each symbol in the image"
WHERE = "where is each symbol in the image ?"
READ = ("which word is written here ?", "read the word that is in the picture", "what does the image say ?")
SINGLE = ("what is in the image ?", "what do you see here ?", "which symbol shows the picture ?")
SINGLE_DOMAINS = ("clipart", "sketch", "painting")  # held out: fine-tuning's real, and infograph and quickdraw
WORDS, SINGLES = "words", "single"
PARTS = (*STYLES, WORDS, SINGLES)
OF_A_SYMBOL = "the symbol that is {}"  # OK-VQA says "the {} symbol"


class Lesson(NamedTuple):
    """N pictures uint8 (N, 3, 48, 48), for each a text and what is to be said to it."""

    images: torch.Tensor
    questions: list[str]
    answers: list[str]

    def part(self, start: int, stop: int) -> Lesson:
        """Examples `start` to `stop` - 1."""
        return Lesson(self.images[start:stop], self.questions[start:stop], self.answers[start:stop])


class Share(NamedTuple):
    """The share of a lesson's scenes that have a question instead of their caption, of the questions that are about
    facts, and of the other questions and of the captions that are made to be about places."""

    asking: float
    facts: float = 0.0
    places: float = 0.0


def lesson(seed: int, number: int, parts: Mapping[str, int], share: Share) -> Lesson:
    """Lesson `number`, in random order: 60 pictures for each of `parts` {style, "words" or "single": how many}. It
    depends on the arguments alone."""
    made, generator = [], np.random.default_rng([STREAM, seed, TRAIN, number])
    for place, (name, count) in enumerate(parts.items()):
        if count:
            key = (STREAM, seed, (TRAIN * 2**20 + number) * len(PARTS) + place)
            made.append(_MAKERS.get(name, _scenes)(name, count * CHUNK, key, generator, share))
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


def _scenes(style: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, share: Share) -> Lesson:
    scenes = sample_scenes(generator, count, habits=False)
    questions, answers = [], []
    asked = generator.random(count) < share.asking
    placed = generator.random(count) < share.places if share.places else [False] * count
    possible = random_questions(scenes, generator, len(WORDINGS))
    for scene, ask, place, found in zip(scenes, asked, placed, possible, strict=True):
        if not ask:
            question, answer = (WHERE, _where(scene, generator)) if place else (CAPTION, caption_of(scene))
        elif generator.random() < share.facts:
            question, answer = _fact(scene, generator)
        else:
            about, answer = next((pair for pair in found if place and _kind(pair[0]) == "places"), found[0])
            question = _one(generator, pretraining_texts(about))
        questions.append(question)
        answers.append(answer)
    return Lesson(drawn(scenes, style, key), questions, answers)


def _where(scene: Scene, generator: np.random.Generator) -> str:
    """The objects of a scene in random order, each with its place: "sun bottom right , star top left"."""
    cells = generator.permutation(scene.cells()).tolist()
    return " , ".join(f"{OBJECT_NAMES[scene.objects[cell]]} {PLACES[cell]}" for cell in cells)


def _fact(scene: Scene, generator: np.random.Generator) -> tuple[str, str]:
    """A fact, told of a name as often as asked of a symbol, "no" as often as all other answers together."""
    of_symbols = [
        (FACTS[place].wording.format(OF_A_SYMBOL.format(COLOR_NAMES[color])), answer)
        for place, color, answer in facts_of(scene)
    ]
    found = of_symbols if of_symbols and generator.random() < 0.5 else told()
    wanted = generator.random() < 0.5
    return _one(generator, [row for row in found if (row[1] == "no") == wanted] or found)


def _words(_: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, share: Share) -> Lesson:
    scenes, answers = [], []
    for scene in sample_scenes(generator, count, habits=False):
        half = int(generator.random() * 2)
        scenes.append(scene.without(2 * half).without(2 * half + 1))
        answers.append(_one(generator, SIGNS))
    images = drawn(scenes, "plain", key, [word.upper() for word in answers])
    return Lesson(images, [_one(generator, READ) for _ in answers], answers)


def _single(_: str, count: int, key: tuple[int, int, int], generator: np.random.Generator, share: Share) -> Lesson:
    """Single symbols in a domain drawn by chance; in all of them in turn where each gets 60 pictures or more."""
    labels = torch.from_numpy(generator.integers(len(CLASSES), size=count))
    domains = SINGLE_DOMAINS if count >= len(SINGLE_DOMAINS) * CHUNK else (_one(generator, SINGLE_DOMAINS),)
    images = torch.empty(count, 3, 48, 48, dtype=torch.uint8)
    for place, domain in enumerate(domains):
        images[place :: len(domains)] = _symbols(labels[place :: len(domains)], domain, key)
    return Lesson(images, [_one(generator, SINGLE) for _ in labels], _names(labels))


def _symbols(labels: torch.Tensor, domain: str, key: tuple[int, int, int]) -> torch.Tensor:
    return torch.cat(list(draw(load_glyphs(), labels, domain, key, 48)))


def _names(labels: torch.Tensor) -> list[str]:
    return [name_of(CLASSES[k]) for k in labels.tolist()]


_MAKERS = {WORDS: _words, SINGLES: _single}


class Exam(NamedTuple):
    """Pictures with questions, answers and the kind of each question: what a pre-trained model is measured on.

    `pictures` has the number of each question's picture.
    """

    images: torch.Tensor
    questions: list[str]
    answers: list[str]
    kinds: list[str]
    pictures: list[int]


EXAM_KINDS = {"count": "counts", "color": "colors", "there": "yes/no", "side": "places", "height": "places"}
"""First word of a form → kind; the others are "names"."""


def _kind(ask: Ask) -> str:
    return EXAM_KINDS.get(ask.form.split()[0], "names")


def exam(seed: int, style: str, count: int = 300, each: int = 4) -> Exam:
    """`count` scenes that no lesson has, each with its caption ("captions"), `each` questions in the wording of
    fine-tuning and a fact ("facts"); where the style is "words", each with the word to be read ("words"); where it is
    "single", as many single symbols in each domain, whose name is the kind of question."""
    generator = np.random.default_rng([STREAM, seed, TEST, PARTS.index(style)])
    key = (STREAM, seed, TEST * 2**20 * len(PARTS))
    if style == WORDS:
        images, _, answers = _words(style, count, key, generator, Share(1.0))
        return Exam(images, [READ[0]] * count, answers, [WORDS] * count, list(range(count)))
    if style == SINGLES:
        labels = torch.from_numpy(generator.integers(len(CLASSES), size=(len(DOMAINS), count)))
        images = torch.cat([_symbols(some, domain, key) for some, domain in zip(labels, DOMAINS, strict=True)])
        kinds, total = [domain for domain in DOMAINS for _ in range(count)], len(images)
        return Exam(images, [SINGLE[0]] * total, _names(labels.flatten()), kinds, list(range(total)))
    scenes = sample_scenes(generator, count, habits=False)
    rows = []
    for number, (scene, asked) in enumerate(zip(scenes, random_questions(scenes, generator, each), strict=True)):
        rows.append((CAPTION, caption_of(scene), "captions", number))
        rows += [(pretraining_texts(ask)[0], answer, _kind(ask), number) for ask, answer in asked]
        rows.append((*_fact(scene, generator), "facts", number))
    return Exam(drawn(scenes, style, key), *map(list, zip(*rows, strict=True)))
