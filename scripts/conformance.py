"""Check the statements of docs/conformance.yaml against the configs: --help, or digrap/cli/conformance.py."""

import _package  # noqa: F401

from digrap.cli import conformance
from digrap.cli.door import door

if __name__ == "__main__":
    raise SystemExit(door(conformance.main, conformance.__doc__))
