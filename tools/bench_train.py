"""A training step with every optimizer; `python tools/bench_train.py --help`. Door to digrap/cli/bench/train.py."""

import logging

from digrap.cli.bench import train
from digrap.cli.door import door

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(door(train.main, train.__doc__))
