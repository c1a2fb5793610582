"""Facts about the symbols that no picture shows: what OK-VQA's twin asks, and what pre-training may tell in words."""

from __future__ import annotations

from typing import NamedTuple

from digrap.data.mini.scenes import OBJECTS
from digrap.data.mini.vqa.questions import with_article
from digrap.data.mini.vqa.words import name_of
from digrap.data.mini.vqa.world import Scene


class Fact(NamedTuple):
    """A property of symbols: its wording, in which {} stands for "the red symbol" or "a star"; the answers by object,
    and that of all others, None where they have none."""

    wording: str
    answers: dict[str, str]
    rest: str | None = None

    def of(self, label: str) -> str | None:
        """Return the answer for an object; None where it has none."""
        return self.answers.get(label, self.rest)


def _same(answer: str, labels: str) -> dict[str, str]:
    return dict.fromkeys(labels.split(), answer)


FACTS: tuple[Fact, ...] = (
    Fact("can {} fly ?", _same("yes", "airplane"), "no"),
    Fact("is {} alive ?", _same("yes", "cat flower"), "no"),
    Fact("is {} an animal ?", _same("yes", "cat"), "no"),
    Fact("does {} shine ?", _same("yes", "star sun"), "no"),
    Fact(
        "where is {} found ?",
        _same("sky", "airplane cloud star sun")
        | _same("sea", "anchor")
        | _same("garden", "flower")
        | _same("office", "envelope pencil scissors telephone"),
    ),
    Fact("is {} hot or cold ?", _same("hot", "sun") | _same("cold", "snowflake")),
    Fact("which season has {} ?", _same("winter", "snowflake") | _same("summer", "flower sun")),
    Fact("is {} used in a game ?", _same("yes", "diamond"), "no"),
)
"""Yes/no facts hold for all objects, the others for those named."""


def told() -> list[tuple[str, str]]:
    """Return (question, answer) of every fact about every object by its name: "can a star fly ?", "no".

    They need no picture: pre-training may tell them, and the test asks of "the red symbol".
    """
    return [
        (fact.wording.format(with_article(name_of(label))), answer)
        for fact in FACTS
        for label in OBJECTS
        if (answer := fact.of(label)) is not None
    ]


def facts_of(scene: Scene) -> list[tuple[int, int, str]]:
    """Return (place of the fact in FACTS, color, answer) of the symbols whose color is theirs alone."""
    cells = [cell for cell in scene.cells() if len(scene.cells(color=scene.colors[cell])) == 1]
    return [
        (place, scene.colors[cell], answer)
        for cell in cells
        for place, fact in enumerate(FACTS)
        if (answer := fact.of(OBJECTS[scene.objects[cell]])) is not None
    ]
