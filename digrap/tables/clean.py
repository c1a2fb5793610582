"""Leftovers under outputs/: run folders that no table refers to, and label files without a run."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from digrap.core.errors import Busy, DigrapError
from digrap.runs.folder import CONFIG, ERROR, FACTS, LOCK, OWNER, RESULTS, RunFolder
from digrap.runs.lock import hold
from digrap.runs.npz import read_npz
from digrap.runs.predictions import PREDICTIONS, truth_digest, truth_of
from digrap.runs.written import foreign
from digrap.tables.missing_runs import as_start
from digrap.tables.run_states import State, state_of
from digrap.tables.spec import Cell, Row, Table

RUN = re.compile(r"[0-9a-f]{10}(-fresh[1-9][0-9]*)?")
LABELS = re.compile(r"[0-9a-f]{10}\.npz")
RUN_FILES = (CONFIG, FACTS, RESULTS)
REMAINS = {LOCK, OWNER, ERROR, "train.log"}  # all that a run may have which never began


@dataclass(frozen=True)
class Leftover:
    """A run folder or label file that nothing refers to. `kept` says why it is not to be deleted, if so."""

    path: Path
    size: int
    what: str
    kept: str = ""

    @property
    def place(self) -> str:
        """Its path within outputs."""
        folders = 2 if self.path.suffix == ".npz" else 1
        return "/".join(self.path.parts[-1 - folders :])


def every_cell(tables: Iterable[Table]) -> list[Cell]:
    """Every run that a table may ever need: whole grids on all seeds, whatever has won. Nothing is composed yet."""
    return list({cell.overrides: cell for table in tables for cell in _cells(table)}.values())


def _cells(table: Table) -> Iterator[Cell]:
    seeds = dict.fromkeys((*table.seeds, *(table.search.seeds or ())))
    for row in table.rows.values():
        for choice, seed in itertools.product(_choices(table, row), seeds):
            yield table.cell(row.label, seed, choice)


def _choices(table: Table, row: Row) -> list[tuple[str, ...]]:
    starts: list[tuple[str, ...]] = [()]
    if row.start is not None:
        earlier = table.rows[row.start]
        starts = [as_start((*earlier.overrides, *choice)) for choice in earlier.choices()]
    return [(*start, *choice) for start in starts for choice in row.choices()]


def unreferenced(places: Iterable[str], cells: Iterable[Cell]) -> set[str]:
    """Those of `places` (<dataset>/<hash>) that are neither a cell's run nor the run that one is initialised from."""
    rest = set(places)
    for cell in cells:
        if not rest:  # a cell takes a seventh of a second to compose
            break
        rest.discard(cell.place)
        if rest and cell.config.optim.start:
            rest.discard(cell.start_place)
    return rest


def run_folders(outputs: Path) -> list[Path]:
    """outputs/<dataset>/<hash> and <hash>-fresh<k>, as far as they look like runs. Links are not followed."""
    if not outputs.is_dir():
        raise DigrapError(f"outputs={outputs}: there is no such folder")
    return [
        path for folder in _folders(outputs) for path in _folders(folder) if RUN.fullmatch(path.name) and _run(path)
    ]


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())


def _run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in RUN_FILES) or {entry.name for entry in folder.iterdir()} <= REMAINS


def find(outputs: Path, cells: Iterable[Cell]) -> list[Leftover]:
    """All leftovers under `outputs`, given every cell of every table. Raises DigrapError where that is not a folder."""
    outputs = Path(outputs)
    runs = {f"{path.parent.name}/{path.name}": path for path in run_folders(outputs)}
    found = [_leftover(runs[place]) for place in sorted(unreferenced(runs, cells))]
    going = {folder for folder in _folders(outputs) for run in _folders(folder) if _busy(state_of(run))}
    leaving = {item.path for item in found if not item.kept}
    for folder in _folders(outputs):
        # A run writes its labels before the predictions that refer to them.
        if folder not in going:
            found += _labels(folder, leaving)
    return found


def _busy(state: State) -> bool:
    return state.name == "running"


def _kept(folder: Path, state: State) -> str:
    """Why a folder is not to be deleted; empty where it may be."""
    if _busy(state):
        return "it is running" if state.sure else "it was written to in the last ten minutes"
    if names := foreign(folder):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"it holds {names[0]}{more}, which no run writes"
    return ""


def _leftover(folder: Path) -> Leftover:
    state = state_of(folder)
    kept = _kept(folder, state)
    name, _, fresh = folder.name.partition("-fresh")
    state_name = "never begun" if state.name == "pending" else state.name
    what = f"{_who(folder)}, {state_name}" + (f", a repeat of {name}" if fresh else "")
    return Leftover(folder, size_of(folder), what, kept)


def _who(path: Path) -> str:
    """Method and seed, from the results or else the config."""
    folder = RunFolder(path)
    try:
        results = folder.results()
        return f"{results.method}, seed {results.seed}"
    except DigrapError:
        pass
    try:
        cfg = folder.config()
        return f"{cfg.optim.name}, seed {cfg.seed}"
    except (DigrapError, OmegaConfBaseException, AttributeError):
        return "method unknown"


def _labels(folder: Path, leaving: set[Path]) -> list[Leftover]:
    """Label files of a dataset that only runs in `leaving`, or none at all, refer to."""
    files = [
        path for path in sorted(folder.glob("labels/*.npz")) if LABELS.fullmatch(path.name) and _holds_labels(path)
    ]
    if not files:
        return []
    used = {_truth(path) for path in folder.glob(f"*/{PREDICTIONS}") if path.parent not in leaving}
    if None in used:  # one cannot be read: it may refer to any of them
        return []
    return [Leftover(path, size_of(path), "labels of no run") for path in files if path.stem not in used]


def _holds_labels(path: Path) -> bool:
    """Whether the content is what a file of labels is named after."""
    try:
        return truth_digest(read_npz(path, "the labels")) == path.stem
    except (DigrapError, ValueError, TypeError):
        return False


def _truth(path: Path) -> str | None:
    try:
        return truth_of(path)
    except DigrapError:
        return None


def delete(leftovers: Iterable[Leftover]) -> tuple[list[Leftover], list[Leftover]]:
    """Delete them. Returns (deleted, kept): what is marked so, has been started or got other files since, is kept, with
    the labels of its dataset."""
    deleted, kept, changed = [], [], set()
    for item in sorted(leftovers, key=lambda item: item.path.is_file()):  # labels last
        run = item.path.is_dir()
        labels_needed = not run and item.path.parent.parent in changed
        gone = not item.kept and not labels_needed and (_delete_run if run else _delete_file)(item.path)
        (deleted if gone else kept).append(item)
        if run and not gone and not item.kept:
            changed.add(item.path.parent)
    return deleted, kept


def _delete_run(folder: Path) -> bool:
    if _kept(folder, state_of(folder)):
        return False
    try:
        with hold(RunFolder(folder)):
            RunFolder(folder).results_file.unlink(missing_ok=True)  # first: what is half deleted must not look done
            shutil.rmtree(folder)
    except Busy:
        return False
    except OSError as error:
        raise DigrapError(f"{folder} could not be deleted ({error})") from error
    return True


def _delete_file(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DigrapError(f"{path} could not be deleted ({error})") from error
    return True


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_dir()]
    return sum(file.lstat().st_size for file in files)


def in_megabytes(size: int) -> str:
    """`12.3 MB`."""
    return f"{size / 1e6:.1f} MB"
