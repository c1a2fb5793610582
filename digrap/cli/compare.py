"""Compare two runs on the same examples: `python scripts/compare.py RUN RUN [split=sketch scorer=…]`.

RUN is a run folder, outputs/<dataset>/<hash>, the beginning of its hash, `latest`, or a published run,
docs/results/<table>/runs/<hash>. Prints the accuracies, the difference first − second with its 95 % interval (bootstrap
over examples), and the p-value of McNemar's exact test.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table as RichTable

from digrap.cli.arguments import bare_keys
from digrap.core.errors import DigrapError
from digrap.report.compare_runs import TITLES, compare
from digrap.report.gather import load_run
from digrap.runs.find import find_run


def main() -> None:
    """Read two runs, print."""
    keys = [argument for argument in sys.argv[1:] if "=" in argument and argument.partition("=")[0].isidentifier()]
    folders = [argument for argument in sys.argv[1:] if argument not in keys]  # a folder's name may have a = in it
    options = bare_keys(keys, {"split": None, "scorer": None})
    if len(folders) != 2:
        raise DigrapError("give two runs: python scripts/compare.py outputs/<dataset>/<hash> outputs/<dataset>/<hash>")
    runs = [load_run(find_run(folder)) for folder in folders]
    table = RichTable(*TITLES)
    for line in compare(*runs, options.split, options.scorer):
        table.add_row(*line.texts())
    lines = [f"{word}: {run.name} in {run.file.parent}" for word, run in zip(("first", "second"), runs, strict=True)]
    lines += sorted({f"! {caveat}" for run in runs for caveat in run.results.caveats})
    Console(width=None if sys.stdout.isatty() else 120).print(*lines, table, sep="\n", highlight=False, soft_wrap=True)
