"""The runs that a table needs: searches on ID validation, winners, then all seeds with them. Reads run folders, and a
published table where one is given; trains nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from pathlib import Path

from digrap.config.compose import many_configs
from digrap.runs.folder import RunFolder
from digrap.runs.results import Validation
from digrap.tables.published import Published
from digrap.tables.spec import Cell, Row, Table


def choose(candidates: list[list[Validation]], rule: str) -> int:
    """The place of the winner among candidates, each with one validation per search seed; the first of equals.

    "best": the highest mean. "one_std_error": the first whose mean is within one standard error of the best's. The
    standard error is over seeds where there are several, else the binomial one of the validation set, which no scores
    between 0 and 1 exceed.
    """
    means = [statistics.fmean(validation.score for validation in runs) for runs in candidates]
    best = max(range(len(means)), key=means.__getitem__)
    if rule == "best":
        return best
    runs = candidates[best]
    if len(runs) > 1:
        error = statistics.stdev(validation.score for validation in runs) / math.sqrt(len(runs))
    else:
        error = math.sqrt(means[best] * (100 - means[best]) / runs[0].n)
    return next(place for place, mean in enumerate(means) if mean >= means[best] - error)


class Plan:
    """A table's runs as far as they are known by now; every question reads the run folders again. A run that is not in
    `outputs` is taken from the table as it was `published`, where that is given and has a run of the same hash."""

    def __init__(self, table: Table, outputs: Path, published: Published | None = None):
        self.table, self.outputs, self.published = table, Path(outputs), published
        self._cells: dict[tuple, Cell] = {}  # a cell composes its config once

    def done(self, cell: Cell) -> bool:
        """Whether the run is finished in `outputs`."""
        return RunFolder(cell.folder(self.outputs)).done()

    def taken(self, cell: Cell) -> bool:
        """Whether the run, with its predictions, is the published table's."""
        return self.published is not None and not self.done(cell) and self.published.prints(cell.hash)

    def search_seeds(self, seed: int) -> tuple[int, ...]:
        """The seeds on which the winner for `seed` is searched."""
        return (seed,) if self.table.search.seeds is None else self.table.search.seeds

    def choices(self, row: Row, seed: int) -> list[tuple[str, ...]] | None:
        """Every point of the row's grid as overrides, with its start's winner; None until that is known."""
        start: tuple[str, ...] = ()
        if row.start is not None:
            earlier = self.table.rows[row.start]
            winner = self.winner(earlier, seed)
            if winner is None:
                return None
            start = as_start((*earlier.overrides, *winner))
        return [(*start, *choice) for choice in row.choices()]

    def _searched(self, row: Row, seed: int) -> list[tuple[str, ...]] | None:
        """The choices that the winner is among: all, without those that the published search has passed over and of
        which no score is left. It had them beside its own winner, whose score stands for theirs; the rule
        one_std_error needs every score, unless the choices are the same."""
        choices = self.choices(row, seed)
        found = self.published and choices and self.published.search(self.table, row, seed)
        if not found:
            return choices
        identity, its_seed, chosen, others = found
        known = chosen in choices and self.cell(row, its_seed, chosen).hash == identity
        if not known or (self.table.search.rule != "best" and set(choices) != others):
            return choices
        passed_over = others - {chosen}
        return [choice for choice in choices if choice not in passed_over or self._scored(row, seed, choice)]

    def _scored(self, row: Row, seed: int, choice: tuple[str, ...]) -> bool:
        return all(self.validation(self.cell(row, other, choice)) for other in self.search_seeds(seed))

    def winner(self, row: Row, seed: int) -> tuple[str, ...] | None:
        """The chosen overrides of a row for a seed; None until its search is done. One choice needs no search."""
        choices = self._searched(row, seed)
        if choices is None or len(choices) == 1:
            return choices and choices[0]
        found = []
        for choice in choices:
            runs = [self.validation(self.cell(row, other, choice)) for other in self.search_seeds(seed)]
            if None in runs:
                return None
            found.append(runs)
        return choices[choose(found, self.table.search.rule)]

    def validation(self, cell: Cell) -> Validation | None:
        """The ID-validation score of a run; None until it is finished."""
        if self.done(cell) or self.published is None:
            return RunFolder(cell.folder(self.outputs)).validation()
        found = self.published.results(cell.hash)
        return found and found.validation

    def cell(self, row: Row, seed: int, choice: tuple[str, ...]) -> Cell:
        """The run of a row with a seed and chosen overrides."""
        key = (row.label, seed, choice)
        if key not in self._cells:
            self._cells[key] = self.table.cell(row.label, seed, choice)
        return self._cells[key]

    def search_cells(self, row: Row, seed: int) -> list[Cell]:
        """The runs of the row's search for a seed, as far as they are known."""
        choices = self._searched(row, seed) or []
        if len(choices) <= 1:
            return []
        return [self.cell(row, other, choice) for choice in choices for other in self.search_seeds(seed)]

    def final(self, row: Row, seed: int) -> Cell | None:
        """The run that the table prints; None until the winner is known."""
        winner = self.winner(row, seed)
        return None if winner is None else self.cell(row, seed, winner)

    def finals(self) -> Iterator[tuple[Row, int, Cell | None]]:
        """Every printed cell, row by row."""
        for row in self.table.rows.values():
            for seed in self.table.seeds:
                yield row, seed, self.final(row, seed)

    @many_configs()
    def known(self) -> list[Cell]:
        """Every run that is known to be needed by now, searches first, each once."""
        cells: dict[str, Cell] = {}
        for row in self.table.rows.values():
            for seed in self.table.seeds:
                for cell in self.search_cells(row, seed):
                    cells.setdefault(cell.place, cell)
        for *_, cell in self.finals():
            if cell is not None:
                cells.setdefault(cell.place, cell)
        return list(cells.values())

    @many_configs()
    def missing(self) -> dict[str, Cell]:
        """The known runs that are to be made, by place. Of a search, the score is enough; a published run is made again
        where one of these is initialised from its weights."""
        printed = {cell.place for *_, cell in self.finals() if cell is not None}
        known = {cell.place: cell for cell in self.known()}
        missing = {place: cell for place, cell in known.items() if not self._made(cell, place in printed)}
        starts = {cell.start_place for cell in missing.values()}
        again = {place: cell for place, cell in known.items() if place in starts and not self.done(cell)}
        return {place: cell for place, cell in known.items() if place in missing.keys() | again.keys()}

    def _made(self, cell: Cell, printed: bool) -> bool:
        return self.done(cell) or self.taken(cell) or (not printed and self.validation(cell) is not None)

    def ready(self) -> list[Cell]:
        """Missing runs that wait for nothing. A run whose start is missing too waits for it: two rows that are
        initialised from one run, on two cores, would else make it twice or wait for each other."""
        missing = self.missing()
        return [cell for cell in missing.values() if not self._waits(cell, missing)]

    def _waits(self, cell: Cell, missing: dict[str, Cell]) -> bool:
        start = cell.start_place
        return start is not None and start in missing


def as_start(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides of a row, as the overrides of another row's `optim.start`."""
    method, own, result = None, [], []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "optim":
            method = value
        elif key.startswith("optim."):
            own.append(f"{key.removeprefix('optim.')}: {value}")
        else:
            result.append(f"++optim.start.{key}={value}")
    options = "".join(f", {option}" for option in own)
    return (f"optim.start.optim={{name: {method}{options}}}" if own else f"optim.start.optim={method}", *result)


class Stages:
    """Batches of a table's missing runs: each time the ones that wait for nothing, after a look at what is done by
    now. A run is offered once; `again` offers it once more."""

    def __init__(self, plan: Plan):
        self.plan, self.offered = plan, set()

    def __iter__(self) -> Iterator[list[Cell]]:
        while batch := [cell for cell in self.plan.ready() if cell.place not in self.offered]:
            self.offered |= {cell.place for cell in batch}
            yield batch

    def again(self, cell: Cell) -> None:
        """The run was not made: another process held its folder."""
        self.offered.discard(cell.place)
