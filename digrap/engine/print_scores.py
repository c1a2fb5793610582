"""A finished run's scores as a table on the terminal."""

from __future__ import annotations

import logging
import math
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from digrap.config.changes import as_words, changes
from digrap.runs.results import OOD, Results, mean_of

log = logging.getLogger(__name__)


def announce(result: Results, cfg: DictConfig) -> None:
    """Print the scores of a result with their OOD mean, and those of all variants where there are several. The title
    has the values of `cfg` that differ from the defaults. In a sweep this is one line: its end shows all runs."""
    metric, tables = result.metric, [scores_table(result.scores, result.metric), Table()]
    for title in ("variant", *result.scores):
        tables[1].add_column(title, justify="right")
    for name, scores in result.variants.items():
        tables[1].add_row(name, *(f"{score[metric]:.1f}" if metric in score else "—" for score in scores.values()))
    own = as_words(changes(OmegaConf.to_container(cfg)) or {})
    title = " · ".join(filter(None, [result.method, own, result.dataset, result.backbone, f"seed {result.seed}"]))
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        numbers = {"ID val": result.selection["score"], "ID": result.mean(("id_test",)), "OOD mean": result.mean(OOD)}
        log.info("%s: %s", title, ", ".join(f"{name} {value:.1f}" for name, value in numbers.items()))
        return
    caveats = [f"! {caveat}" for caveat in result.caveats]
    Console().print(title, *caveats, *tables[: 1 + (len(result.variants) > 1)], sep="\n", highlight=False)


def scores_table(scores: dict[str, dict[str, Any]], metric: str) -> Table:
    """One row per split with its score by `metric`, and the OOD mean where several are out of distribution."""
    table = Table()
    for title in ("split", "kind", "n", f"{metric} %"):
        table.add_column(title, justify="left" if title in ("split", "kind") else "right")
    for name, score in scores.items():
        table.add_row(name, score["kind"], str(score["n"]), f"{score[metric]:.2f}" if metric in score else "—")
    several = sum(score["kind"] in OOD for score in scores.values()) > 1
    if several and not math.isnan(mean := mean_of(scores, metric, OOD)):
        table.add_section()
        table.add_row("OOD mean", "", "", f"{mean:.2f}")
    return table
