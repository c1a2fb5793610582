"""A table as configs/tables/<name>.yaml describes it: rows with their grids, seeds, how winners are chosen, targets."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from digrap.config.choices import how_to_list
from digrap.config.compose import compose, start_config
from digrap.config.identity import run_hash
from digrap.config.overrides import as_typed
from digrap.core.errors import DigrapError, first_line, nearest
from digrap.core.paths import CONFIGS, OUTPUTS
from digrap.tables.table_form import ROW_KEYS, check_form, check_keys, check_target_rows

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
    def hash(self) -> str:
        """The run's identity."""
        return run_hash(self.config)

    @cached_property
    def place(self) -> str:
        """<dataset>/<hash>: the run's folder within outputs."""
        return f"{self.config.dataset.name}/{self.hash}"

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
    the run that this one is initialised from (its `optim.start`); `block` is the part of the table it stands in."""

    label: str
    overrides: tuple[str, ...]
    grid: dict[str, tuple[str, ...]]
    start: str | None = None
    block: str | None = None

    def choices(self) -> list[tuple[str, ...]]:
        """Overrides of every point of the grid, in its order; one empty point without a grid."""
        axes = [[as_typed(f"{key}={value}") for value in values] for key, values in self.grid.items()]
        return list(itertools.product(*axes))

    @property
    def own_label(self) -> str:
        """The label as the table's file has it: without the block's title."""
        return self.label if self.block is None else self.label.removesuffix(f" ({self.block})")

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
    """Rows × seeds.

    `overrides` come before those of every row. `targets` are published numbers with their source. `means` are further
    columns, each the mean of the splits it names; `columns` maps the titles of the columns that are printed to splits
    and means, in order (empty: all of them, under their own names). `scorer` is the score that is printed (None: the
    metric that chose the checkpoint); `matched` asks for a column of OOD accuracy at matched ID accuracy; `own_file` is
    the file of a table that is none of configs/tables.
    """

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
    matched: bool = False
    own_file: Path | None = None

    def baseline_of(self, row: str) -> str | None:
        """The row to which `row` is compared: the baseline of its block."""
        return self.baseline and _in_block(self.baseline, self.rows[row].block)

    def beside(self, row: str) -> list[str]:
        """The rows of its block, with itself."""
        return [label for label, other in self.rows.items() if other.block == self.rows[row].block]

    def cell(self, row: str, seed: int, chosen: tuple[str, ...] = ()) -> Cell:
        """The run of a row with a seed and what was chosen for it."""
        return Cell(row, seed, (*self.overrides, *self.rows[row].overrides, *chosen, f"seed={seed}"))

    @property
    def pilot(self) -> bool:
        """Whether its seeds are those of development and demos."""
        return min(self.seeds) < PILOT

    @property
    def searches(self) -> bool:
        """Whether any row has something to choose."""
        return any(row.grid for row in self.rows.values())


def load_table(
    name: str, seeds: list[int] | None = None, extra: tuple[str, ...] = (), scorer: str | None = None
) -> Table:
    """The table called `name`, or in the file `name` (….yaml), with other seeds, further overrides and another scorer
    where given.

    Raises DigrapError for an unknown name (with the nearest ones) and for a file that is not a table.
    """
    path = Path(name) if str(name).endswith(".yaml") else CONFIGS / "tables" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (CONFIGS / "tables").glob("*.yaml"))
        raise DigrapError(f"table={name}: there is no such table; {nearest(str(name), known)}; {how_to_list('tables')}")
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise DigrapError(f"{path}: {first_line(error)}") from error
    check_form(path, plain)
    rows = _rows(path, plain["rows"])
    blocks = {str(title): _overrides(path, own or ()) for title, own in (plain.get("blocks") or {}).items()}
    rows = _in_blocks(rows, blocks) if blocks else rows
    for title, group in (plain.get("groups") or {}).items():  # a block with rows of its own
        own = {str(title): _overrides(path, group.get("overrides") or ())}
        rows |= _in_blocks(_rows(path, group["rows"], f"groups.{title}."), own)
    check_target_rows(path, plain.get("targets") or {}, rows)
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
        matched=plain.get("matched", False),
        own_file=path.resolve() if own else None,
    )
    if table.search.rule not in RULES:
        raise DigrapError(f"{path}: search.rule={table.search.rule}; {nearest(table.search.rule, RULES)}")
    return table


def _rows(path: Path, plain: dict[str, object], prefix: str = "") -> dict[str, Row]:
    rows = {str(label): _row(path, str(label), value, f"{prefix}rows.{label}") for label, value in plain.items()}
    _check_starts(path, rows, prefix)
    return rows


def _row(path: Path, label: str, value: object, place: str) -> Row:
    """A row from a list of overrides, or from a mapping with overrides, grid and start."""
    plain = {"overrides": value} if isinstance(value, list) else value
    if not isinstance(plain, dict):
        raise DigrapError(f"{path}: {place} is neither a list of overrides nor a mapping")
    check_keys(path, plain, ROW_KEYS, f"{place}.")
    grid = plain.get("grid") or {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise DigrapError(f"{path}: {place}.grid.{key} must be a list of values")
    texts = {key: tuple(_text(item) for item in values) for key, values in grid.items()}
    return Row(label, _overrides(path, plain.get("overrides") or ()), texts, plain.get("start"))


def _in_blocks(rows: dict[str, Row], blocks: dict[str, tuple[str, ...]]) -> dict[str, Row]:
    """Every row in every block, with the block's overrides before its own. Options of a group that the row chooses for
    itself (peft.r, where it has peft=none) are left out."""
    result = {}
    for title, overrides in blocks.items():
        for label, row in rows.items():
            chosen = set(map(_key, row.overrides))
            own = tuple(override for override in overrides if _key(override).partition(".")[0] not in chosen)
            label, start = _in_block(label, title), row.start and _in_block(row.start, title)
            result[label] = replace(row, label=label, overrides=(*own, *row.overrides), start=start, block=title)
    return result


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _in_block(label: str, block: str | None) -> str:
    return label if block is None else f"{label} ({block})"


def _overrides(path: Path, given: list[str]) -> tuple[str, ...]:
    """Overrides of the file, quoted where Hydra's grammar needs it."""
    try:
        return tuple(as_typed(str(text)) for text in given)
    except DigrapError as error:
        raise DigrapError(f"{path}: {error}") from error


def _text(value: object) -> str:
    """A value as the right side of an override."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_starts(path: Path, rows: dict[str, Row], prefix: str) -> None:
    for row in rows.values():
        if row.start is None:
            continue
        if row.start not in rows:
            raise DigrapError(
                f"{path}: {prefix}rows.{row.label}.start: {row.start!r} is no row; {nearest(row.start, rows)}"
            )
        if rows[row.start].start is not None:
            raise DigrapError(
                f"{path}: {prefix}rows.{row.label}.start: {row.start!r} has a start itself; one level is all"
            )


def _search_seeds(path: Path, seeds: object) -> tuple[int, ...] | None:
    if seeds == "each":
        return None
    if not isinstance(seeds, list) or not seeds:
        raise DigrapError(f"{path}: search.seeds={seeds}: give a list of seeds, or `each`")
    return tuple(seeds)
