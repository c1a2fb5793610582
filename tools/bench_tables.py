"""How long a big table takes to plan and render; `--help` says more. Door to digrap/cli/bench/tables.py."""

import logging

from digrap.cli.bench import tables
from digrap.cli.door import door

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(door(tables.main, tables.__doc__))
