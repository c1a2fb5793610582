"""A finished run's scores as a table on the terminal."""

from __future__ import annotations

import logging
import math

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from digrap.config.changes import as_words, changes
from digrap.runs.results import OOD, Results

log = logging.getLogger(__name__)


def announce(result: Results, cfg: DictConfig) -> None:
    """Print the scores of a result with their OOD mean, and those of all variants where there are several. The title
    has the values of `cfg` that differ from the defaults. In a sweep this is one line: its end shows all runs."""
    metric, tables = result.metric, [Table(), Table()]
    for title in ("split", "kind", "n", f"{metric} %"):
        tables[0].add_column(title, justify="left" if title in ("split", "kind") else "right")
    for name, score in result.scores.items():
        tables[0].add_row(name, score["kind"], str(score["n"]), f"{score[metric]:.2f}" if metric in score else "—")
    for title in ("variant", *result.scores):
        tables[1].add_column(title, justify="right")
    if sum(score["kind"] in OOD for score in result.scores.values()) > 1 and not math.isnan(mean := result.mean(OOD)):
        tables[0].add_section()
        tables[0].add_row("OOD mean", "", "", f"{mean:.2f}")
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
