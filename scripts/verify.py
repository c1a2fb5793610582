"""Make every published table again from its predictions: `python scripts/verify.py [results=docs/results]`.

Hashes, scores and the md, tex and csv are compared with what lies there; exit code 2 with what differs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli.door import bare_keys, door  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.paths import REPO  # noqa: E402
from digrap.report.verify import verify  # noqa: E402


def main() -> None:
    """Check, print a line a table."""
    options = bare_keys(sys.argv[1:], {"results": str(REPO / "docs" / "results")})
    found, tables = [], 0
    for table in verify(Path(options.results)):
        tables += 1
        word = f"{len(table.differences)} DIFFERENCES" if table.differences else "as published"
        print(f"{table.name}: {table.runs} runs, {table.scores} scores, {word}, {table.seconds:.1f} s", flush=True)
        found += [f"{table.name}: {difference}" for difference in table.differences]
    if not tables:
        print(f"{options.results} has no published table")
    if found:
        raise DigrapError("\n  ".join(["published tables are not what their predictions give", *found]))


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
