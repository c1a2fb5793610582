"""Ids as different files spell them: zero-padded, accents apart, or as the name of a picture's file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from digrap.metrics.vqa.question import Question

if TYPE_CHECKING:
    from digrap.metrics.vqa.predictions import Prediction

ENDING = ".jpg"


def plain(name: str) -> str:
    """Return an id, or several joined by "/", as all its spellings are compared: numbers without leading zeros, "007/a"
    as "7/a", and accents composed (Unicode's NFC)."""
    parts = unicodedata.normalize("NFC", name).split("/")
    return "/".join((part.lstrip("0") or "0") if part.isascii() and part.isdigit() else part for part in parts)


def same_ids(ones: list[str], others: list[str]) -> bool:
    """Return whether two lists of ids are one list, leading zeros apart."""
    return ones == others or len(ones) == len(others) and all(map(_alike, ones, others))


def without_ending(name: str) -> str:
    """Return the question id in "<question id>.jpg", the image that lmms-eval writes for OK-VQA and VizWiz."""
    return name.removesuffix(ENDING)


def _alike(one: str, other: str) -> bool:
    return one == other or plain(one) == plain(other)


class Spellings:
    """The ids of a file, found by any spelling (`plain`): "0012" finds "12" where "0012" itself is none."""

    def __init__(self, names: Iterable[str]):
        self.names = names if isinstance(names, (set, dict)) else set(names)
        self.spelled: dict[str, str | None] | None = None

    def find(self, name: str) -> str | None:
        """Return the id itself, else the only one that is it but for the spelling, else None."""
        if name in self.names:
            return name
        if self.spelled is None:  # only files that differ pay for it
            self.spelled = {}
            for own in self.names:
                self.spelled[plain(own)] = None if plain(own) in self.spelled else own
        return self.spelled.get(plain(name))


def respelled(questions: Sequence[Question], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions with their ids spelled as the questions spell them; unknown ids stay as they are.

    "<id>.jpg" is taken for the question of that id where no question is about a picture of such a name.
    """
    numbers = {question.question_id for question in questions}
    images = Spellings({question.image_id for question in questions if question.image_id is not None})
    if all(
        said.question_id in numbers and (said.image_id is None or said.image_id in images.names) for said in predictions
    ):
        return list(predictions)
    full = {f"{question.question_id}/{question.image_id}" for question in questions}
    ids = Spellings(numbers | full | {question.full_id for question in questions})
    called = Spellings({question.id for question in questions})
    pictures = {question.image.rpartition("/")[2] for question in questions} | images.names
    in_files = not any(prediction.question_id in pictures for prediction in predictions)
    result = []
    for prediction in predictions:
        name, image = prediction.question_id, prediction.image_id
        found = ids.find(name)
        if found is None and in_files and name.endswith(ENDING):
            found = called.find(without_ending(name))
        known_image = None if image is None else images.find(image)
        if (found or name, known_image or image) != (name, image):
            prediction = replace(prediction, question_id=found or name, image_id=known_image or image)
        result.append(prediction)
    return result
