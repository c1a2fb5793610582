"""Compare two runs on the same examples, split by split: `python scripts/compare.py RUN RUN [split=sketch]`.

RUN is a run folder, outputs/<dataset>/<hash>, or a published run, docs/results/<table>/runs/<hash>. Prints accuracies,
the difference first − second with its 95 % interval (bootstrap over examples) and the p of McNemar's exact test.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from digrap.cli.arguments import bare_keys
from digrap.core.errors import DigrapError, nearest
from digrap.report.gather import Run, read_run
from digrap.report.scores import check_alike, signed
from digrap.report.stats import bootstrap, mcnemar, paired


def rows(first: Run, second: Run, split: str | None = None) -> list[list[str]]:
    """Return one line for each split that both were tested on. Raises DigrapError for runs that cannot be paired."""
    check_alike([first, second])
    if first.result["dataset"] != second.result["dataset"]:
        raise DigrapError(f"{first.name} is of {first.result['dataset']}, {second.name} of {second.result['dataset']}")
    splits = [name for name in first.result["scores"] if name in second.result["scores"]]
    if split is not None and split not in splits:
        raise DigrapError(f"split={split}: both runs must have it; {nearest(split, splits)}")
    return [_row(first, second, name) for name in splits if split in (None, name)]


def _row(first: Run, second: Run, split: str) -> list[str]:
    signs = signed(first, second, split)
    test = paired(100 * signs.mean(), 100 * bootstrap([[signs]])[:, 0])
    p = mcnemar(first.correct(split), second.correct(split))
    interval = f"[{test.low:+.2f}, {test.high:+.2f}]"
    scores = (f"{run.score(split):.2f}" for run in (first, second))
    return [split, *scores, f"{test.mean + 0.0:+.2f}", interval, f"{p:.2g}", str(len(signs))]


def main() -> None:
    """Read two runs, print."""
    folders = [argument for argument in sys.argv[1:] if "=" not in argument]
    options = bare_keys([argument for argument in sys.argv[1:] if "=" in argument], {"split": None})
    if len(folders) != 2:
        raise DigrapError("give two runs: python scripts/compare.py outputs/<dataset>/<hash> outputs/<dataset>/<hash>")
    runs = [read_run(Path(folder)) for folder in folders]
    table = RichTable("split", "first", "second", "difference", "95 % interval", "McNemar p", "n")
    for row in rows(*runs, options.split):
        table.add_row(*row)
    lines = [f"{word}: {run.name} in {run.file.parent}" for word, run in zip(("first", "second"), runs, strict=True)]
    lines += sorted({f"! {caveat}" for run in runs for caveat in run.result.get("caveats", ())})
    Console(width=None if sys.stdout.isatty() else 120).print(*lines, table, sep="\n", highlight=False, soft_wrap=True)
