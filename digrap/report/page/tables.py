"""A table on the page: its verdict, cells, notes and figures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.report import figures, render
from digrap.report.findings import findings
from digrap.report.gather import Source, table_command
from digrap.report.layers import histories_of
from digrap.report.matched_column import rates_of
from digrap.report.page import charts
from digrap.report.page.found import Found, mu_grid
from digrap.report.page.gallery import Reader, Shown, shifts
from digrap.report.page.verdict import verdict
from digrap.report.scores import Scores
from digrap.tables.spec import Table


@dataclass(frozen=True)
class Chart:
    """A figure as SVG with its caption, which is also what a screen reader says."""

    svg: bytes
    caption: str


@dataclass(frozen=True)
class TablePart:
    """What the page says of a table. `origin` is where its numbers were read; `gaps` the
    runs that it lacks; `notes` what could not be shown."""

    name: str
    title: str
    origin: str
    gaps: list[str]
    sentences: list[str]
    rows_in_words: list[str]
    header: list[str]
    body: list[list[str]]
    facts: list[str]
    commands: list[str]
    charts: list[Chart]
    shifts: list[Shown]
    notes: list[str] = field(default_factory=list)


def over_seeds_that_ran(source: Source) -> Source:
    """A source over those of its seeds of which a run is finished."""
    there = {run.seed for run in source.runs}
    table = replace(source.table, seeds=tuple(seed for seed in source.table.seeds if seed in there))
    rates, missing = ([one for one in given if one.seed in there] for given in (source.rates, source.missing))
    return replace(source, table=table, rates=rates, missing=missing)


def describe(scores: Scores, whole: Table, origin: Path, runs: list[Found], reader: Reader | None) -> TablePart:
    """All of a table, of which `whole` has all seeds. Raises DigrapError for damaged predictions."""
    scores = _in_full(scores)
    sentences, rows = verdict(scores)
    shown, why_not = shifts(scores, reader) if reader else ([], "Pictures were left out (pictures=false).")
    notes = [f"The examples of the shifts are not all here: {why_not}"] if why_not else []
    drawn = _charts(scores, runs, notes)
    return TablePart(
        scores.table.name, render.title(scores), str(origin), _gaps(scores, whole),
        [*sentences, *findings(scores)], rows, render.header(scores), list(render.body(scores)), render.notes(scores),
        _commands(scores, whole), drawn, shown, notes,
    )  # fmt: skip


def _gaps(scores: Scores, whole: Table) -> list[str]:
    """What runs are missing: seeds without any, and those of the seeds that are shown."""
    shown, every = (", ".join(map(str, seeds)) for seeds in (scores.table.seeds, whole.seeds))
    return [
        *([f"Shown over seeds {shown} of {every}: no run of the others is finished."] if shown != every else []),
        *render.how_many_missing(scores),
    ]


def _commands(scores: Scores, whole: Table) -> list[str]:
    """The commands for what is missing; for seeds without any run, the one that makes the whole table."""
    return [*render.commands(scores), *([table_command(whole)] if whole.seeds != scores.table.seeds else [])]


def _in_full(scores: Scores) -> Scores:
    """With what a table published before was not rendered with; OOD at matched ID where vanilla's rates allow it."""
    shown = scores.table.matched or any(len(rates_of(scores, row).runs) > 1 for row in scores.table.rows)
    table = replace(scores.table, matched=shown)
    return replace(scores, source=replace(scores.source, table=table, explained=True))


def _charts(scores: Scores, runs: list[Found], notes: list[str]) -> list[Chart]:
    """Every figure that the table's runs give; what keeps some from being drawn goes to `notes`."""
    baseline = scores.table.baseline
    points = figures.id_against_ood(scores)
    dashed = " Dashed: what zero-shot and vanilla reach, with any learning rate that ran."
    found = {
        "ID against OOD accuracy, mean ± standard deviation over seeds; small dots are runs. Up and to the right is "
        "better." + dashed * figures.has_front(points): points,
        f"Difference to {baseline} on every test split, ± standard deviation over seeds. Each panel "
        "has a scale of its own.": charts.differences(scores),
    }
    try:
        histories = histories_of(scores)
    except DigrapError as error:
        notes.append(f"No figures of layers: {error}")
        histories = {}
    for row, of_row in histories.items():
        found[f"{row}: ω, the strength of projection, by layer and epoch (mean over seeds). Dark is 0: nothing is "
              "projected out."] = charts.omega_map(of_row)  # fmt: skip
    found["‖δ‖, how far each layer has moved from the pre-trained weights (for adapters: from their anchor), after "
          "the last epoch."] = charts.distances(histories)  # fmt: skip
    if not any(histories.values()):
        notes.append("No figures of layers: these runs have no statistics of layers.")
    for row, points in mu_grid(scores.table, runs).items():
        found[f"{row}: accuracy over µ, from the runs of the search."] = charts.over_mu(points)
    return [Chart(figures.as_svg(figure), caption) for caption, figure in found.items() if figure is not None]
