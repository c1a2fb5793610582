"""A finished run's scores as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from digrap.runs.folder import Results


def announce(result: Results) -> None:
    """Print the scores of a result, and those of all variants where there are several."""
    metric, tables = result.metric, [Table(), Table()]
    for title in ("split", "kind", "n", f"{metric} %"):
        tables[0].add_column(title, justify="left" if title in ("split", "kind") else "right")
    for name, score in result.scores.items():
        tables[0].add_row(name, score["kind"], str(score["n"]), f"{score[metric]:.2f}" if metric in score else "—")
    for title in ("variant", *result.scores):
        tables[1].add_column(title, justify="right")
    for name, scores in result.variants.items():
        tables[1].add_row(name, *(f"{score[metric]:.1f}" if metric in score else "—" for score in scores.values()))
    title = f"{result.method} · {result.dataset} · {result.backbone} · seed {result.seed}"
    caveats = [f"! {caveat}" for caveat in result.caveats]
    Console().print(title, *caveats, *tables[: 1 + (len(result.variants) > 1)], sep="\n", highlight=False)
