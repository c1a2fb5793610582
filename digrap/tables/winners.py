"""Winners of a table's searches as configs/best/<table>/<row>.yaml: one run of a cell is one command. Those of a table
in a file of its own lie beside it, in best/<table>/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf

from digrap.core.files import write_text
from digrap.core.paths import CONFIGS
from digrap.runs.results import Validation
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import Cell, Row


def write_winners(plan: Plan, configs: Path | None = None) -> list[Path]:
    """Write a file for every row whose winners finished runs have shown, and again only where it says something else;
    into best/ of the folder `configs`, by default the repository's or that of the table's own file.

    Where every seed chooses for itself, the file's name ends in the seed. Returns the files written.
    """
    written, own = [], plan.table.own_file
    configs = configs or (own.parent if own else CONFIGS)
    for row, name, cell in _winners(plan):
        path = configs / "best" / plan.table.name / f"{name}.yaml"
        text = as_config(plan, row, name, cell)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            written.append(path)
    return written


def _winners(plan: Plan) -> Iterator[tuple[Row, str, Cell]]:
    each = plan.table.search.seeds is None
    for row in plan.table.rows.values():
        cells = {seed: plan.final(row, seed) for seed in plan.table.seeds}
        if None in cells.values() or None in [found for cell in cells.values() for _, found in _shown(plan, row, cell)]:
            continue
        if any(cell.config.trainer.smoke for cell in cells.values()):  # it has found nothing
            continue
        same = len({tuple(o for o in cell.overrides if not o.startswith("seed=")) for cell in cells.values()}) == 1
        if each and not same:
            yield from ((row, f"{row.slug}_seed{seed}", cell) for seed, cell in cells.items())
        else:
            yield row, row.slug, cells[plan.table.seeds[0]]


def _shown(plan: Plan, row: Row, cell: Cell) -> list[tuple[int, Validation | None]]:
    """The runs that a winner stands on, by seed, with their scores, None where one is not finished: those of its
    search; where there was nothing to search, its own."""
    seeds = plan.search_seeds(cell.seed) if len(plan.choices(row, cell.seed) or []) > 1 else (cell.seed,)
    winner = plan.winner(row, cell.seed)
    return [(seed, plan.validation(plan.cell(row, seed, winner))) for seed in seeds]


def as_config(plan: Plan, row: Row, name: str, cell: Cell) -> str:
    """The file's text: choices of groups in its defaults list, the rest as values; it gives the cell's own hash."""
    groups, values = [], OmegaConf.create({})
    for override in cell.overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key == "seed":
            continue
        if (CONFIGS / key).is_dir():
            groups.append(f"  - override /{key}: {value}\n")
        else:  # Hydra's own reading of the value, from the composed config
            OmegaConf.update(values, key, OmegaConf.select(cell.config, key), force_add=True)
    shown = _shown(plan, row, cell)
    scores = ", ".join(f"{found.score:.2f}" for _, found in shown)
    count = len(plan.choices(row, cell.seed) or [])
    how = f"best of {count} ({plan.table.search.rule}) by ID validation" if count > 1 else "its only choice"
    # best= finds files of the repository alone.
    command = f"python train.py best={plan.table.name}/{name} seed={cell.seed}"
    command = cell.command if plan.table.own_file else command
    text = (
        "# @package _global_\n"
        f"# Row “{row.label}” of table {plan.table.name}: {how}; validation {scores} % with seed "
        f"{', '.join(str(seed) for seed, _ in shown)}.\n"
        f"# {command}\n"
        f"defaults:\n{''.join(groups)}  - _self_\n"
    )
    return text + (OmegaConf.to_yaml(values) if values else "")
