"""Rebuild every published table from its predictions: `python scripts/verify.py [results=docs/results]`.

Hashes, scores and the md, tex and csv are compared with the published ones; exit code 2 and a list where they differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

from digrap.cli.arguments import bare_keys
from digrap.core.errors import DigrapError
from digrap.core.paths import PUBLISHED
from digrap.report.verify import verify


def main() -> None:
    """Print one line per table. Raises DigrapError listing every difference."""
    options = bare_keys(sys.argv[1:], {"results": str(PUBLISHED)})
    found, tables = [], 0
    for table in verify(Path(options.results)):
        tables += 1
        word = f"{len(table.differences)} DIFFERENCES" if table.differences else "as published"
        print(f"{table.name}: {table.runs} runs, {table.scores} scores, {word}, {table.seconds:.1f} s", flush=True)
        found += [f"{table.name}: {difference}" for difference in table.differences]
    if not tables:
        print(f"{options.results} has no published table")
    if found:
        raise DigrapError("\n  ".join(["published tables differ from what their predictions give", *found]))
