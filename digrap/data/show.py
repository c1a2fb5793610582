"""A dataset at a glance: counts of its parts, and a few pictures with their question and answers or class."""

from __future__ import annotations

import random
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from digrap.core.errors import DigrapError
from digrap.core.problems import Problems
from digrap.data.vqa.official_files import FileMissing
from digrap.data.vqa.pictures import Questions, with_pictures
from digrap.data.vqa.read_set import read_set
from digrap.data.vqa.sets import SETS

TYPES = ("yes/no", "number", "other", "unanswerable")
COLUMNS = 3


def load_sets(
    root: Path, names: Sequence[str], source: str, problems: dict[str, Problems], upright: bool = False
) -> dict[str, Questions]:
    """Return parts of VQA sets by title: of one set all that exist, of several the scored part each.

    Damaged files, and with several sets missing ones, are counted in `problems`. Raises DigrapError where no part can
    be read, or where the scored part of a single set cannot.
    """
    result, failed = {}, {}
    for name in names:
        parts = SETS[name].parts if len(names) == 1 else SETS[name].parts[-1:]
        for part in parts:
            fix = SETS[name].how_to_fetch(root, part=part)
            if source == "lists" and part not in SETS[name].lists:
                continue
            key = f"{name} {part}"
            problems[key] = Problems()
            try:
                records = read_set(root, name, part, problems[key], source, upright)
                result[key] = Questions(root, with_pictures(root, records, problems[key], fix))
            except DigrapError as error:
                failed[key] = error
    last = next(reversed(problems))  # of a single set this is the scored part
    if last in failed and (len(names) == 1 or not result):
        raise failed[last]
    for key, error in failed.items():
        if len(names) > 1 or not isinstance(error, FileMissing):
            problems[key].add("part that is left out", str(error))
    return result


def count_table(parts: Mapping[str, Dataset], kinds: Mapping[str, str]):
    """Return a rich table: each part's kind and size; for questions also pictures, answer types, question types."""
    from rich.table import Table

    of_questions = any(isinstance(data, Questions) for data in parts.values())
    titles = (
        ["part", "kind", "questions", "pictures", *TYPES, "no type", "question types"]
        if of_questions
        else ["split", "kind", "pictures"]
    )
    table = Table()
    for title in titles:
        table.add_column(title, justify="left" if title in ("part", "split", "kind") else "right")
    for name, data in parts.items():
        cells = _counts(data) if of_questions else [len(data)]
        table.add_row(name, kinds.get(name, ""), *(f"{cell:,}" for cell in cells))
    return table


def _counts(data: Questions) -> list[int]:
    types = Counter(record.answer_type for record in data.records)
    rest = sum(count for kind, count in types.items() if kind not in TYPES)
    question_types = {record.question_type for record in data.records} - {None}
    pictures = {record.image for record in data.records}
    return [len(data), len(pictures), *(types[kind] for kind in TYPES), rest, len(question_types)]


def examples(
    parts: Mapping[str, Dataset], classes: Mapping[str, Sequence[str]], count: int, seed: int
) -> list[tuple[Any, str, str]]:
    """Return `count` (picture array, part, text), taken from the parts in turn, beginning with the last part; `classes`
    has the names of a part's labels."""
    generator, result, names = random.Random(seed), [], list(reversed(parts))
    for place in range(count):
        name = names[place % len(names)]
        picture, target = parts[name][generator.randrange(len(parts[name]))]
        result.append((_as_array(picture), name, _text(target, classes.get(name, ()))))
    return result


def _as_array(picture: Any) -> Any:
    import numpy as np

    return picture.permute(1, 2, 0).numpy() if isinstance(picture, Tensor) else np.asarray(picture)


def _text(target: Any, classes: Sequence[str]) -> str:
    if not hasattr(target, "question"):
        return classes[int(target)]
    answers = [f"{answer} ({count})" for answer, count in Counter(target.answers).most_common()]
    text = f"{target.question}\n{', '.join(answers[:3])}{', …' if len(answers) > 3 else ''}"
    return text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be printed


def sheet(found: Sequence[tuple[Any, str, str]], columns: int = COLUMNS):
    """Return a matplotlib figure of pictures, `columns` in a row, each titled with its part and text."""
    from matplotlib.figure import Figure

    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.6 * min(columns, len(found)), 3.6 * rows), layout="constrained", dpi=100)
    axes = figure.subplots(rows, min(columns, len(found)), squeeze=False).flat
    for cell in axes:
        cell.set_axis_off()
    for cell, (picture, name, text) in zip(figure.axes, found, strict=False):
        cell.imshow(picture)
        wrapped = "\n".join(textwrap.fill(line, 44) for line in text.replace("$", r"\$").splitlines())
        cell.set_title(f"{name}\n{wrapped}", fontsize=8)
    return figure
