"""A table as configs/tables/<name>.yaml describes it: its rows, its seeds, and the run behind each cell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from digrap.cli import nearest
from digrap.config import compose, run_hash
from digrap.errors import DigrapError
from digrap.paths import CONFIGS, OUTPUTS

KEYS = ("title", "overrides", "seeds", "baseline", "rows")


@dataclass(frozen=True)
class Cell:
    """One run of a table: a row with one seed."""

    row: str
    seed: int
    overrides: tuple[str, ...]

    @cached_property
    def config(self) -> DictConfig:
        """What `python train.py <overrides>` would run."""
        return compose(list(self.overrides))

    @cached_property
    def place(self) -> str:
        """<dataset>/<hash>: the run's folder within outputs."""
        return f"{self.config.dataset.name}/{run_hash(self.config)}"

    def folder(self, outputs: Path = OUTPUTS) -> Path:
        """The run's folder, whether or not it is there."""
        return outputs / self.place

    @property
    def command(self) -> str:
        """The command that fills the cell."""
        return shlex.join(["python", "train.py", *self.overrides])


@dataclass(frozen=True)
class Table:
    """Rows × seeds. `rows` maps a label to the overrides that make the row; `overrides` come before all of them."""

    name: str
    title: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: dict[str, tuple[str, ...]]
    baseline: str | None

    def cells(self, row: str) -> list[Cell]:
        """The row's runs, one a seed."""
        return [Cell(row, seed, (*self.overrides, *self.rows[row], f"seed={seed}")) for seed in self.seeds]

    def all_cells(self) -> list[Cell]:
        """Every run of the table, row by row."""
        return [cell for row in self.rows for cell in self.cells(row)]


def load_table(name: str, seeds: list[int] | None = None, extra: tuple[str, ...] = ()) -> Table:
    """The table called `name`, with other seeds and further overrides where given.

    Raises DigrapError for a name that is not there (with the nearest ones) and for a file that is no table.
    """
    path = CONFIGS / "tables" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise DigrapError(f"table={name}: there is no such table; {nearest(str(name), known)}")
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise DigrapError(f"{path}: {str(error).splitlines()[0]}") from error
    _check(path, plain)
    return Table(
        name=name,
        title=plain["title"],
        overrides=(*plain["overrides"], *extra),
        seeds=tuple(plain["seeds"] if seeds is None else seeds),
        rows={str(label): tuple(overrides) for label, overrides in plain["rows"].items()},
        baseline=plain.get("baseline"),
    )


def _check(path: Path, plain: object) -> None:
    if not isinstance(plain, dict):
        raise DigrapError(f"{path}: a table is a mapping with {', '.join(KEYS)}")
    for key in plain:
        if key not in KEYS:
            raise DigrapError(f"{path}: unknown key {key!r}; {nearest(str(key), KEYS)}")
    for key, kind in (("title", str), ("overrides", list), ("seeds", list), ("rows", dict)):
        if not isinstance(plain.get(key), kind) or not plain[key]:
            raise DigrapError(f"{path}: {key} must be a {kind.__name__} that is not empty")
    if (baseline := plain.get("baseline")) is not None and baseline not in plain["rows"]:
        raise DigrapError(f"{path}: baseline {baseline!r} is no row; {nearest(baseline, plain['rows'])}")
