"""A published table: a folder from whose predictions anyone can make its every number again.

`<folder>/<table>/` holds manifest.json, runs/<hash>.json (results.json), runs/<hash>.npz (predictions) and, where the
run has statistics of its layers, runs/<hash>.history.npz; labels/<digest>.npz; searches/<hash>.json (results.json of
runs that winners were chosen among); and the table as md, tex, csv and pictures. It stands alone: the manifest has the
table's description too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.files import inside, write_atomically
from digrap.report import render
from digrap.report.gather import Missing, Run, Source, in_published
from digrap.report.scores import Scores, check_clean
from digrap.runs.history import history_bytes
from digrap.runs.predictions import labels_file
from digrap.tables import spec
from digrap.tables.published import MANIFEST, RATES, RUNS, SCHEMA, SEARCHES, chosen_of, read_manifest, table_of
from digrap.tables.spec import Table

LIMIT_MB = 40  # of all published tables


def publish(scores: Scores, pictures: dict[str, bytes], folder: Path) -> tuple[Path, int]:
    """Write a table to <folder>/<table>/. Returns that folder and its size in bytes.

    Raises DigrapError for a table in a file of its own, for runs made with uncommitted changes, for another scorer than
    the table's own, for bundles that do not give the scores, for files that would lie outside, and where `folder` would
    grow beyond 40 MB; nothing is written or removed then.
    """
    if scores.table.own_file:
        raise DigrapError(
            f"{scores.table.own_file}: a published table must be in {spec.CONFIGS / 'tables'}; put it there"
        )
    check_clean(scores.source.every)
    if not scores.runs:
        raise DigrapError(f"table={scores.table.name}: no run is finished yet; {scores.missing[0].command}")
    plain = spec.load_table(scores.table.name)
    if scores.table.scorer != plain.scorer:
        raise DigrapError(
            f"table={scores.table.name} scorer={scores.table.scorer}: a published table must match its yaml; write "
            f"scorer: {scores.table.scorer} into {spec.CONFIGS / 'tables' / scores.table.name}.yaml"
        )
    if extra := scores.table.overrides[len(plain.overrides) :]:
        raise DigrapError(
            f"table={scores.table.name} {' '.join(extra)}: a published table must match its yaml; write that into a "
            f"table of its own in {spec.CONFIGS / 'tables'}"
        )
    for run in scores.source.bundled:
        for split, metric in run.stored_scores:
            run.example_scores(split, metric)
    content = _content(scores) | pictures
    content[MANIFEST] = manifest(scores, content)
    place = folder / scores.table.name
    others = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and place not in path.parents)
    size = sum(map(len, content.values()))
    if others + size > LIMIT_MB * 10**6:
        raise DigrapError(
            f"{folder} would hold {(others + size) / 1e6:.1f} MB, the limit is {LIMIT_MB}; {scores.table.name} has "
            f"{size / 1e6:.1f}: remove another table first"
        )
    targets = {name: inside(place, name, f"the files of table={scores.table.name}") for name in content}
    for old in _no_longer(place, set(content)):
        old.unlink()
    for name, data in content.items():  # the manifest last
        write_atomically(targets[name], lambda file, data=data: file.write(data))
    return place, size


def _content(scores: Scores) -> dict[str, bytes]:
    """File → bytes of the table's texts, its runs and their labels."""
    content = {name: text.encode() for name, text in render.files(scores).items()}
    for run in scores.source.bundled:
        identity, digest = run.results.hash, run.bundle.truth
        content[f"runs/{identity}.json"] = run.file.read_bytes()
        content[f"runs/{identity}.npz"] = run.bundle_file.read_bytes()
        if history := run.history():
            content[f"runs/{identity}.history.npz"] = history_bytes(history)
        content[f"labels/{digest}.npz"] = labels_file(run.labels_folder, digest).read_bytes()
    for run in scores.source.searches:
        content[f"{SEARCHES}/{run.results.hash}.json"] = run.file.read_bytes()
    return content


def _no_longer(place: Path, kept: set[str]) -> list[Path]:
    """The files that an earlier publication listed and this one has not. What it did not list is left.

    Raises DigrapError for a listed name that leads out of the folder.
    """
    if not (place / MANIFEST).exists():
        return []
    listed = [inside(place, name, f"{place / MANIFEST}, files") for name in read_manifest(place)["files"]]
    return [path for path in listed if path.relative_to(place).as_posix() not in kept and path.is_file()]


def manifest(scores: Scores, content: dict[str, bytes]) -> bytes:
    """The published folder's description of itself, as the bytes of manifest.json."""
    source, table = scores.source, scores.table
    plain = {
        "schema": SCHEMA, "table": table.name, "yaml": spec_text(table.name), "spec": plain_table(table),
        "splits": source.splits, "own_pictures": source.own_pictures, "cells": _plain_cells(source.runs),
        RATES: _plain_cells(source.rates), SEARCHES: _plain_cells(source.searches), "explained": source.explained,
        "missing": [dataclasses.asdict(missing) for missing in source.missing],
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())},
    }  # fmt: skip
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _plain_cells(runs: list[Run]) -> list[dict[str, Any]]:
    return [
        {"row": run.row, "seed": run.seed, "hash": run.results.hash, "overrides": list(run.overrides)} for run in runs
    ]


def plain_table(table: Table) -> dict[str, Any]:
    """A table of configs/tables as plain values."""
    return {key: value for key, value in dataclasses.asdict(table).items() if key != "own_file"}


def spec_file(name: str) -> Path:
    """configs/tables/<name>.yaml. Raises DigrapError for a name that leads out of that folder."""
    return inside(spec.CONFIGS / "tables", f"{name}.yaml", f"table {name}")


def spec_text(name: str) -> str:
    """configs/tables/<name>.yaml as it is now."""
    return spec_file(name).read_text(encoding="utf-8")


def from_published(place: Path) -> Source:
    """A published table, from its folder alone. Raises DigrapError for a manifest that contradicts itself."""
    plain = read_manifest(place)
    try:
        table = table_of(plain["spec"])
        runs = [_run(place, table, cell, RUNS) for cell in plain["cells"]]
        searches = [_run(place, table, cell, SEARCHES) for cell in plain.get(SEARCHES, ())]
        missing = [Missing(**entry) for entry in plain["missing"]]
        # older ones have neither rates nor searches
        rates = [_run(place, table, cell, RUNS) for cell in plain.get(RATES, ())]
        explained = plain.get("explained", False)
        kinds = dict(plain["splits"])
        source = Source(table, kinds, plain["own_pictures"], runs, missing, rates, searches, explained)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DigrapError(f"{place / MANIFEST} is damaged ({error!r}); publish the table again") from error
    found = sorted((entry.row, entry.seed) for entry in (*runs, *missing))
    if found != sorted((row, seed) for row in table.rows for seed in table.seeds):
        raise DigrapError(f"{place / MANIFEST}: cells and missing are not every row and seed once")
    return source


def _run(place: Path, table: Table, cell: dict[str, Any], folder: str) -> Run:
    row, seed, overrides = cell["row"], cell["seed"], tuple(cell["overrides"])
    chosen = chosen_of(table, row, overrides)
    file = inside(place, f"{folder}/{cell['hash']}.json", f"{place / MANIFEST}, cells")
    results, *files = in_published(file)
    facts = (results.hash, results.seed, table.cell(row, seed, chosen).overrides)
    if facts != (cell["hash"], seed, overrides):
        raise DigrapError(f"{row}, seed {seed}: {file} is not the run that the manifest's cell names")
    return Run(row, seed, overrides, results, *files)
