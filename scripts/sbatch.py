"""Submit a table's runs to Slurm and exit: --help, or digrap/cli/sbatch.py."""

import _package  # noqa: F401

from digrap.cli import sbatch
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(sbatch.main, sbatch.__doc__))
