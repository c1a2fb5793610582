"""Write one HTML page of every table, figure and run: `python scripts/report.py`.

table=       tables to show, as in table=demo,mini or a table's file; by default the published ones and every other one
             with finished runs of two rows or more
seeds=       the seeds of the tables that table= names, as in seeds=0,1; by default those in their files that have a
             finished run
outputs=     the tree of runs; default outputs
published=   the folder of published tables; default docs/results
out=         the page; default outputs/report.html
runs=30      how many finished runs are shown one by one, the newest first; 0 for none
pictures=true   false leaves out the test pictures, which are read from the datasets

A table whose runs are all published is taken from there, any other one from outputs. The page needs no network and no
other file. What cannot be read is named on the page and here.
"""

from __future__ import annotations

import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig

from digrap.cli.arguments import bare_keys, check_flags, check_whole, parse_seeds
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.core.paths import OUTPUTS, PUBLISHED
from digrap.report.gather import Source, from_outputs
from digrap.report.page import runs as of_runs
from digrap.report.page import tables as of_tables
from digrap.report.page.found import Found, finished, wanted
from digrap.report.page.gallery import Reader, errors
from digrap.report.page.page import Page, html
from digrap.report.publish import from_published
from digrap.report.scores import tally
from digrap.tables import spec
from digrap.tables.published import MANIFEST
from digrap.tables.spec import Table, load_table

MOST = 10_000  # runs
ROWS = 2
DEFAULTS = {
    "table": None, "seeds": None, "outputs": str(OUTPUTS), "published": str(PUBLISHED),
    "out": str(OUTPUTS / "report.html"), "runs": 30, "pictures": True,
}  # fmt: skip


def main() -> None:
    """Gather, draw, write; print where the page lies and what is not on it."""
    started = time.perf_counter()
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_flags(options, "pictures")
    check_whole(options, runs=(0, MOST))
    if options.seeds is not None and options.table is None:
        raise DigrapError(f"seeds={options.seeds}: also name the tables that they belong to, as in table=demo")
    outputs, published, out = (Path(options[key]).expanduser() for key in ("outputs", "published", "out"))
    for key, folder in (("outputs", outputs), ("published", published)):
        if not folder.is_dir() and options[key] != DEFAULTS[key]:
            raise DigrapError(f"{key}={folder}: there is no such folder")
    found, problems = finished(outputs)
    sources, failed = _sources(_tables(options, published, found), outputs, published, options.table is not None)
    reader = _reader(options)
    tables, damaged = _described(sources, found, reader, options.seeds is not None)
    page = Page(
        made=_made(outputs, published),
        tables=tables,
        runs=_runs(found[: options.runs], sources, reader),
        left_out=_left_out(found, options.runs),
        problems=[*problems, *failed, *damaged],
    )
    text = html(page)
    write_text(out, text)
    for line in page.problems:
        print(f"warning: {line}", file=sys.stderr)
    size, seconds = len(text.encode()) / 1e6, time.perf_counter() - started
    print(f"tables: {len(tables)}, runs: {len(page.runs)}, {size:.1f} MB, {seconds:.0f} s", *page.left_out, sep="; ")
    print(f"the page, to open in a browser: {out}")


def _tables(options: DictConfig, published: Path, found: list[Found]) -> list[Table]:
    """The tables to show. Raises DigrapError for an unknown one."""
    if options.table is not None:
        return [load_table(name, parse_seeds(options.seeds)) for name in dict.fromkeys(options.table.split(","))]
    tables = [load_table(file.stem) for file in sorted((spec.CONFIGS / "tables").glob("*.yaml"))]
    return [table for table in tables if _manifest(published, table).exists() or wanted(table, found)]


def _manifest(published: Path, table: Table) -> Path:
    return published / table.name / MANIFEST


def _sources(
    tables: list[Table], outputs: Path, published: Path, asked: bool
) -> tuple[list[tuple[Source, Path]], list[str]]:
    """(each table that has runs with the folder it was read from; what is wrong with the others). Those that were not
    asked for by name need two rows: with one there is nothing to compare."""
    result, wrong = [], []
    for table in tables:
        try:
            source, place = _source(table, outputs, published)
        except DigrapError as error:
            wrong.append(f"table {table.name}: {error}")
            continue
        rows = len({run.row for run in source.runs})
        if rows >= (1 if asked else ROWS):
            result.append((source, place))
        elif asked:
            command = shlex.join(["python", "train.py", "-m", as_typed(f"table={table.own_file or table.name}")])
            wrong.append(f"table {table.name}: none of its runs is finished; {command}")
    return result, wrong


def _source(table: Table, outputs: Path, published: Path) -> tuple[Source, Path]:
    """A table's runs where all of them are published as it is today, else those of the outputs tree, if they are more.
    Composing the configs of a table's runs takes seconds, reading a published table does not."""
    place, there = published / table.name, None
    if not table.own_file and _manifest(published, table).exists():
        there = from_published(place)
        if there.table == table and not there.missing:
            return there, place
    made = from_outputs(table, outputs, rates=True)
    other = there is None or there.table.seeds != table.seeds
    return (made, outputs) if other or len(made.runs) > len(there.runs) else (there, place)


def _reader(options: DictConfig) -> Reader | None:
    if not options.pictures:
        return None
    from digrap.cli.page_pictures import Pictures  # torch: only once the options are known to be good

    return Pictures()


def _described(
    sources: list[tuple[Source, Path]], found: list[Found], reader: Reader | None, seeds_named: bool
) -> tuple[list[of_tables.TablePart], list[str]]:
    parts, wrong = [], []
    for source, place in sources:
        shown = source if seeds_named else of_tables.over_seeds_that_ran(source)
        try:
            parts.append(of_tables.describe(tally(shown, dirty=True), source.table, place, found, reader))
        except DigrapError as error:
            wrong.append(f"table {source.table.name}: {error}")
    return parts, wrong


def _runs(found: list[Found], sources: list[tuple[Source, Path]], reader: Reader | None) -> list[of_runs.RunPart]:
    known = {run.results.hash: run.overrides for source, _ in sources for run in source.runs}
    curves = of_runs.Curves()
    left_out = ([], "Pictures were left out (pictures=false).")
    return [
        of_runs.describe(run, curves, known, left_out if reader is None else errors(run.run, reader)) for run in found
    ]


def _made(outputs: Path, published: Path) -> str:
    return f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from the runs in {outputs} and the tables in {published}."


def _left_out(found: list[Found], most: int) -> list[str]:
    more = len(found) - most
    return [f"{more} older run{'s' * (more != 1)} not shown: runs={len(found)} shows all"] if more > 0 else []
