"""Published tables made again from their predictions, and compared with what lies there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.files import inside, sha256
from digrap.report import render
from digrap.report.gather import Source
from digrap.report.publish import from_published, spec_file, spec_text
from digrap.report.scores import tally
from digrap.runs.results import Validation
from digrap.tables import spec
from digrap.tables.missing_runs import Plan
from digrap.tables.published import MANIFEST, read_manifest
from digrap.tables.spec import Cell


@dataclass(frozen=True)
class Checked:
    """A published table after its check. `scores` counts the scores that were computed again."""

    name: str
    runs: int
    scores: int
    differences: list[str]
    seconds: float


def verify(folder: Path) -> Iterator[Checked]:
    """Check every published table in `folder`, one at a time."""
    if not folder.is_dir():
        raise DigrapError(f"results={folder}: there is no such folder")
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield verify_table(place)


def verify_table(place: Path) -> Checked:
    """Check files, scores and renderings of one published table; what differs is collected, not raised."""
    started, runs, scores, found = time.perf_counter(), 0, 0, []
    try:
        found += _files(place)
        source = from_published(place)
        found += _spec(place, source)
        runs, scores = len(source.bundled), sum(len(run.stored_scores) for run in source.bundled)
        found += _scores(source)
        found += _winners(source)
        found += _renderings(place, source)
    except DigrapError as error:  # what comes after it cannot be checked
        found.append(str(error))
    found = list(dict.fromkeys(found))
    return Checked(place.name, runs, scores, found, time.perf_counter() - started)


def _files(place: Path) -> Iterator[str]:
    """Files that are missing, changed, not listed, or listed outside of the folder."""
    listed = read_manifest(place)["files"]
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    for name, digest in listed.items():
        try:
            path = inside(place, name, f"{place / MANIFEST}, files")
        except DigrapError as error:
            yield str(error)
            continue
        if name not in there:
            yield f"{path} is missing"
        elif sha256(path) != digest:
            yield f"{path} differs from the manifest (sha256)"
    for name in sorted(there - set(listed) - {MANIFEST}):
        yield f"{place / name} is not in the manifest"


def _spec(place: Path, source: Source) -> Iterator[str]:
    """Whether the table is the one of configs/tables today."""
    plain, name = read_manifest(place), source.table.name
    file = spec_file(name)
    if plain.get("table") != place.name or name != place.name:
        yield f"{place / MANIFEST} is of table {name}, its folder of {place.name}"
    elif not file.is_file():
        yield f"{file} is gone; restore it, or remove {place}"
    elif spec_text(name) != plain.get("yaml"):
        yield f"{file} has changed since the table was published; publish it again"
    elif spec.load_table(name, list(source.table.seeds)) != source.table:
        yield f"{place / MANIFEST}: its spec differs from its yaml; publish the table again"


def _scores(source: Source) -> Iterator[str]:
    """Every score of every run, computed again."""
    for run in source.bundled:
        for split, metric in run.stored_scores:
            try:
                run.example_scores(split, metric)
            except DigrapError as error:
                yield str(error)


class _OwnPlan(Plan):
    """The plan of a published table from its runs alone; composes no config."""

    def __init__(self, source: Source):
        super().__init__(source.table, Path())
        self._found = {run.overrides: run.results.validation for run in source.every}

    def validation(self, cell: Cell) -> Validation | None:
        """The ID-validation score of a run; None where it was not published."""
        return self._found.get(cell.overrides)


def _winners(source: Source) -> Iterator[str]:
    """Cells whose choice is not the one that the scores of their search give, where all of these are there."""
    plan = _OwnPlan(source)
    for run in source.runs:
        cell = plan.final(source.table.rows[run.row], run.seed)
        if cell is not None and cell.overrides != run.overrides:
            yield (
                f"{run.name}: its search gives {' '.join(cell.overrides)}, but the table prints "
                f"{' '.join(run.overrides)}"
            )


def _renderings(place: Path, source: Source) -> Iterator[str]:
    """The first line that differs of every form."""
    for name, text in render.files(tally(source)).items():
        try:
            found = inside(place, name, f"{place / MANIFEST}, spec.name").read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            yield f"{place / name} cannot be read ({error})"
            continue
        lines = itertools.zip_longest(found.split("\n"), text.split("\n"), fillvalue="(no line)")
        for number, (old, new) in enumerate(lines, 1):
            if old != new:
                yield f"{place / name}, line {number}:\n    there: {old}\n    made again: {new}"
                break
