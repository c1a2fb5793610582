"""Check that the package is installed. Every script imports this first: its own folder is on its path."""

import sys

try:
    import digrap.cli.door  # noqa: F401
except ModuleNotFoundError as error:
    if (error.name or "").startswith("digrap."):  # a fault of the package, not of its installation
        raise
    fix = "run `python -m pip install -e '.[all]'` or `make setup` in the repository"
    print(f"error: the module {error.name} is not installed: {fix}", file=sys.stderr)
    raise SystemExit(2) from None
