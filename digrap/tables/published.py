"""A published table (docs/results/<table>/) as planning reads it: its runs, and what its searches have chosen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.files import check_sha256, inside
from digrap.core.paths import PUBLISHED
from digrap.runs.results import PUBLISH_AGAIN, Results, read_results
from digrap.tables.spec import Row, Search, Table

SCHEMA = 1
MANIFEST = "manifest.json"
RUNS, SEARCHES = "runs", "searches"  # folders: runs with predictions; results of those that only searches needed
RATES = "rates"  # the manifest's list of vanilla's runs that no row prints, with predictions
REUSE, IGNORE = "reuse", "ignore"  # values of published=; any other is a folder of published tables
Choice = tuple[str, ...]


class Published:
    """A published table. The files of a run are held against the manifest's sha256 before they are used."""

    def __init__(self, place: Path):
        self.place, plain = place, read_manifest(place)
        self._listed: dict[str, str] = plain["files"]
        try:
            self.table = table_of(plain["spec"])
            self._cells = {(cell["row"], cell["seed"]): cell for cell in plain["cells"]}
            self._folders = {cell["hash"]: SEARCHES for cell in plain.get(SEARCHES, ())}
            self._folders |= {cell["hash"]: RUNS for cell in (*plain["cells"], *plain.get(RATES, ()))}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DigrapError(f"{place / MANIFEST} is damaged ({error!r}); {PUBLISH_AGAIN}") from error

    def prints(self, identity: str) -> bool:
        """Whether the run of a hash is there with its predictions."""
        return self._folders.get(identity) == RUNS

    def file(self, identity: str) -> Path:
        """The results.json of a run that is there. Raises DigrapError where one of the run's files has changed."""
        stem = f"{self._folders[identity]}/{identity}"
        remedy = f"restore {self.place} as it was published, or give published={IGNORE}"
        for name, digest in self._listed.items():
            if name.startswith(f"{stem}."):
                path = inside(self.place, name, f"{self.place / MANIFEST}, files")
                check_sha256(path, digest, remedy)
        return self.place / f"{stem}.json"

    def results(self, identity: str) -> Results | None:
        """The results of a run; None where it is not there. Raises DigrapError for damaged ones."""
        return read_results(self.file(identity), PUBLISH_AGAIN) if identity in self._folders else None

    def search(self, table: Table, row: Row, seed: int) -> tuple[str, int, Choice, set[Choice]] | None:
        """What the published search for a row and seed has chosen: hash and seed of a printed run, its choice, and all
        choices it was taken from. None where there is none, or `table` searches in another way."""
        old, each = self.table.rows.get(row.label), table.search.seeds is None
        if old is None or (old.overrides, old.start) != (row.overrides, row.start):
            return None
        if (self.table.overrides, self.table.search) != (table.overrides, table.search):
            return None
        seeds = [seed] if each else [seed, *self.table.seeds]
        cell = next((self._cells[row.label, one] for one in seeds if (row.label, one) in self._cells), None)
        if cell is None:
            return None
        choice = chosen_of(self.table, row.label, cell["overrides"])
        start = choice[: len(choice) - len(old.grid)]
        return cell["hash"], cell["seed"], choice, {(*start, *point) for point in old.choices()}


def chosen_of(table: Table, row: str, overrides: Iterable[str]) -> Choice:
    """What was chosen for a cell, of all its overrides: between those of table and row, and the seed."""
    return tuple(overrides)[len(table.overrides) + len(table.rows[row].overrides) : -1]


def published_table(value: str | None, table: Table) -> Published | None:
    """The published table that published=… names; None without. Raises DigrapError where there is none."""
    if value is None or value == IGNORE:
        return None
    place = (PUBLISHED if value == REUSE else Path(str(value))) / table.name
    if not (place / MANIFEST).exists():
        raise DigrapError(
            f"published={value}: there is no {place / MANIFEST}; give {REUSE} for {PUBLISHED}, a folder that holds "
            f"published tables, or {IGNORE}"
        )
    return Published(place)


def read_manifest(place: Path) -> dict[str, Any]:
    """A published folder's manifest. Raises DigrapError for one that is missing, damaged or of another schema."""
    path = place / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        found = plain.get("schema")
    except (OSError, ValueError, AttributeError) as error:
        raise DigrapError(f"{path} cannot be read ({error}); {PUBLISH_AGAIN}") from error
    if found != SCHEMA:
        raise DigrapError(f"{path} has schema {found}, this version reads {SCHEMA}; {PUBLISH_AGAIN}")
    if not isinstance(plain.get("files"), dict):
        raise DigrapError(f"{path} is damaged (files is no mapping); remove it and {PUBLISH_AGAIN}")
    return plain


def table_of(plain: dict[str, Any]) -> Table:
    """dataclasses.asdict of a table, read back."""
    rows = {}
    for label, row in plain["rows"].items():
        grid = {key: tuple(values) for key, values in row["grid"].items()}
        rows[label] = Row(**{**row, "overrides": tuple(row["overrides"]), "grid": grid})
    seeds = plain["search"]["seeds"]
    search = Search(None if seeds is None else tuple(seeds), plain["search"]["rule"])
    given = {"overrides": tuple(plain["overrides"]), "seeds": tuple(plain["seeds"])}
    given["means"] = {label: tuple(names) for label, names in plain["means"].items()}
    return Table(**{**plain, **given, "rows": rows, "search": search})
