"""Step time and memory of every optimizer; `python tools/bench_optim.py --help`. Door to digrap/cli/bench/optim.py."""

import logging

from digrap.cli.bench import optim
from digrap.cli.door import door

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(door(optim.main, optim.__doc__))
