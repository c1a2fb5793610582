"""A table as configs/tables/<name>.yaml describes it: rows with their grids, seeds, how winners are chosen, targets."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from digrap.config.choices import how_to_list
from digrap.config.compose import compose, start_config
from digrap.config.identity import run_hash
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError, nearest
from digrap.core.paths import CONFIGS, OUTPUTS

KEYS = ("title", "overrides", "seeds", "baseline", "rows", "search", "means", "columns", "targets", "scorer")
ROW_KEYS = ("overrides", "grid", "start")
SEARCH_KEYS = ("seeds", "rule")
TARGET_KEYS = ("source", "values")
RULES = ("best", "one_std_error")
PILOT = 100  # seeds below are for development and demos


@dataclass(frozen=True)
class Cell:
    """One run of a table: a row with one seed and all of its overrides."""

    row: str
    seed: int
    overrides: tuple[str, ...]

    @cached_property
    def config(self) -> DictConfig:
        """The config of `python train.py <overrides>`."""
        return compose(list(self.overrides))

    @cached_property
    def place(self) -> str:
        """<dataset>/<hash>: the run's folder within outputs."""
        return f"{self.config.dataset.name}/{run_hash(self.config)}"

    @cached_property
    def start_place(self) -> str | None:
        """The same of the run that this one is initialised from; None where that is the backbone."""
        start = start_config(self.config)
        return start and f"{start.dataset.name}/{run_hash(start)}"

    def folder(self, outputs: Path = OUTPUTS) -> Path:
        """The run's folder, whether it exists or not."""
        return outputs / self.place

    @property
    def command(self) -> str:
        """The command that fills the cell."""
        return shlex.join(["python", "train.py", *self.overrides])


@dataclass(frozen=True)
class Row:
    """A method with its overrides. `grid` maps a key to the values to search; `start` names the row whose winner is
    the run that this one is initialised from (its `optim.start`). An override best=<table>/<row> takes the winner of
    another table's row."""

    label: str
    overrides: tuple[str, ...]
    grid: dict[str, tuple[str, ...]]
    start: str | None = None

    @property
    def borrowed(self) -> str | None:
        """The winner <table>/<row> that the row takes from another table; None where it takes none."""
        return next((text.removeprefix("best=") for text in self.overrides if text.startswith("best=")), None)

    @property
    def waits(self) -> bool:
        """Whether the file of the winner that it takes is not there: that table's search has not been made."""
        return self.borrowed is not None and not (CONFIGS / "best" / f"{self.borrowed}.yaml").is_file()

    def choices(self) -> list[tuple[str, ...]]:
        """Overrides of every point of the grid, in its order; one empty point without a grid."""
        axes = [[as_typed(f"{key}={value}") for value in values] for key, values in self.grid.items()]
        return list(itertools.product(*axes))

    @property
    def slug(self) -> str:
        """The label as a file's name."""
        return re.sub(
            r"[^a-z0-9]+", "_", self.label.lower().replace("ω", "omega").replace("µ", "mu").replace("λ", "lam")
        ).strip("_")


@dataclass(frozen=True)
class Search:
    """How a row's winner is chosen: on which seeds (None: every seed chooses its own), and by which rule."""

    seeds: tuple[int, ...] | None = None
    rule: str = "best"


@dataclass(frozen=True)
class Table:
    """Rows × seeds. `overrides` come before those of every row; `targets` are published numbers with their source;
    `means` further columns, each the mean of the splits it names; `columns` maps the titles of the columns that are
    printed to splits and means, in order (empty: all of them, under their own names); `scorer` is the score that is
    printed (None: the metric that chose the checkpoint); `own_file` the file of a table that is none of
    configs/tables."""

    name: str
    title: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: dict[str, Row]
    baseline: str | None
    search: Search
    targets: dict[str, dict[str, float]]
    source: str | None
    means: dict[str, tuple[str, ...]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    scorer: str | None = None
    own_file: Path | None = None

    def cell(self, row: str, seed: int, chosen: tuple[str, ...] = ()) -> Cell:
        """The run of a row with a seed and what was chosen for it."""
        return Cell(row, seed, (*self.overrides, *self.rows[row].overrides, *chosen, f"seed={seed}"))

    @property
    def pilot(self) -> bool:
        """Whether its seeds are those of development and demos."""
        return min(self.seeds) < PILOT

    def check_borrowed(self) -> None:
        """Raise DigrapError, naming the commands that find them, where winners of other tables are not there."""
        missing: dict[str, list[str]] = {}
        for row in self.rows.values():
            if row.waits:
                name, _, slug = row.borrowed.partition("/")
                missing.setdefault(name, []).append(slug)
        if missing:
            lacks = [f"{CONFIGS / 'best' / name} has no {', '.join(slugs)}" for name, slugs in missing.items()]
            commands = [f"`{shlex.join(['python', 'train.py', '-m', f'table={name}'])}`" for name in missing]
            raise DigrapError(
                f"table={self.name}: it takes winners of table {', '.join(missing)}, and {'; '.join(lacks)}: "
                f"{' and '.join(commands)} finds them"
            )

    @property
    def searches(self) -> bool:
        """Whether any row has something to choose."""
        return any(row.grid for row in self.rows.values())


def load_table(
    name: str, seeds: list[int] | None = None, extra: tuple[str, ...] = (), scorer: str | None = None
) -> Table:
    """The table called `name`, or in the file `name` (….yaml), with other seeds, further overrides and another scorer
    where given.

    Raises DigrapError for an unknown name (with the nearest ones) and for a file that is no table.
    """
    path = Path(name) if str(name).endswith(".yaml") else CONFIGS / "tables" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (CONFIGS / "tables").glob("*.yaml"))
        raise DigrapError(f"table={name}: there is no such table; {nearest(str(name), known)}; {how_to_list('tables')}")
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise DigrapError(f"{path}: {str(error).splitlines()[0]}") from error
    _check(path, plain)
    rows = {str(label): _row(path, str(label), value) for label, value in plain["rows"].items()}
    _check_starts(path, rows)
    own = path.resolve().parent != (CONFIGS / "tables").resolve()
    search, targets = plain.get("search") or {}, plain.get("targets") or {}
    table = Table(
        name=path.stem,
        title=plain["title"],
        overrides=(*_overrides(path, plain["overrides"]), *extra),
        seeds=tuple(plain["seeds"] if seeds is None else seeds),
        rows=rows,
        baseline=plain.get("baseline"),
        search=Search(_search_seeds(path, search.get("seeds", "each")), search.get("rule", "best")),
        targets=targets.get("values", {}),
        source=targets.get("source"),
        means={str(label): tuple(splits) for label, splits in (plain.get("means") or {}).items()},
        columns={str(title): str(name) for title, name in (plain.get("columns") or {}).items()},
        scorer=plain.get("scorer") if scorer is None else scorer,
        own_file=path.resolve() if own else None,
    )
    if table.search.rule not in RULES:
        raise DigrapError(f"{path}: search.rule={table.search.rule}; {nearest(table.search.rule, RULES)}")
    return table


def _check(path: Path, plain: object) -> None:
    if not isinstance(plain, dict):
        raise DigrapError(f"{path}: a table is a mapping with {', '.join(KEYS)}")
    _check_keys(path, plain, KEYS)
    for key, kind in (("title", str), ("overrides", list), ("seeds", list), ("rows", dict)):
        if not isinstance(plain.get(key), kind) or not plain[key]:
            raise DigrapError(f"{path}: {key} must be a {kind.__name__} that is not empty")
    if (baseline := plain.get("baseline")) is not None and baseline not in plain["rows"]:
        raise DigrapError(f"{path}: baseline {baseline!r} is no row; {nearest(baseline, plain['rows'])}")
    for key in ("means", "columns"):
        if not isinstance(plain.get(key) or {}, dict):
            raise DigrapError(f"{path}: {key} must be a mapping from a column's title to what it shows")
    if not isinstance(plain.get("scorer"), str | None):
        raise DigrapError(f"{path}: scorer={plain['scorer']}: give the name of one score")
    _check_keys(path, plain.get("search") or {}, SEARCH_KEYS, "search.")
    targets = plain.get("targets") or {}
    _check_keys(path, targets, TARGET_KEYS, "targets.")
    if targets.get("values") and not targets.get("source"):
        raise DigrapError(f"{path}: targets need a source; a number without one is not printed")
    for label in targets.get("values") or {}:
        if label not in plain["rows"]:
            raise DigrapError(f"{path}: targets.values: {label!r} is no row; {nearest(label, plain['rows'])}")


def _check_keys(path: Path, found: dict[str, Any], known: tuple[str, ...], prefix: str = "") -> None:
    for key in found:
        if key not in known:
            raise DigrapError(f"{path}: unknown key {prefix + str(key)!r}; {nearest(str(key), known)}")


def _row(path: Path, label: str, value: object) -> Row:
    """A row from a list of overrides, or from a mapping with overrides, grid and start."""
    plain = {"overrides": value} if isinstance(value, list) else value
    if not isinstance(plain, dict):
        raise DigrapError(f"{path}: row {label!r} is neither a list of overrides nor a mapping")
    _check_keys(path, plain, ROW_KEYS, f"rows.{label}.")
    grid = plain.get("grid") or {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise DigrapError(f"{path}: rows.{label}.grid.{key} must be a list of values")
    texts = {key: tuple(_text(item) for item in values) for key, values in grid.items()}
    return Row(label, _overrides(path, plain.get("overrides") or ()), texts, plain.get("start"))


def _overrides(path: Path, given: list[str | list[str]]) -> tuple[str, ...]:
    """Overrides of the file, quoted where Hydra's grammar needs it. A list among them (an anchor of the file) stands
    for its overrides."""
    texts = [text for item in given for text in (item if isinstance(item, list) else [item])]
    try:
        return tuple(as_typed(str(text)) for text in texts)
    except DigrapError as error:
        raise DigrapError(f"{path}: {error}") from error


def _text(value: object) -> str:
    """A value as the right side of an override."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_starts(path: Path, rows: dict[str, Row]) -> None:
    for row in rows.values():
        if row.start is None:
            continue
        if row.start not in rows:
            raise DigrapError(f"{path}: rows.{row.label}.start: {row.start!r} is no row; {nearest(row.start, rows)}")
        if (borrowed := rows[row.start].borrowed) is not None:
            raise DigrapError(
                f"{path}: rows.{row.label}.start: {row.start!r} takes the winner {borrowed}, which a start cannot; "
                "give this row best=<table>/<row> of a row that starts so itself"
            )
        if rows[row.start].start is not None:
            raise DigrapError(f"{path}: rows.{row.label}.start: {row.start!r} has a start itself; one level is all")


def _search_seeds(path: Path, seeds: object) -> tuple[int, ...] | None:
    if seeds == "each":
        return None
    if not isinstance(seeds, list) or not seeds:
        raise DigrapError(f"{path}: search.seeds={seeds}: give a list of seeds, or `each`")
    return tuple(seeds)
