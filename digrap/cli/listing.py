"""`python train.py --list [methods|datasets|…]`: the choices of the configs. Imports no library."""

from __future__ import annotations

import sys

from digrap.config.choices import GROUPS, choices
from digrap.core.errors import DigrapError


def print_lists(arguments: list[str]) -> int:
    """Print what the arguments after `--list` name: one or more lists, or the names of all. Returns the exit code."""
    names = [argument for argument in arguments if argument != "--list"]
    try:
        print("\n\n".join(map(described, names)) if names else overview())
    except DigrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def described(name: str) -> str:
    """Return a list as text: how a choice is given on the command line, then a line a choice."""
    found = choices(name)
    key = "-m table" if name == "tables" else GROUPS[name]
    width = max(map(len, found))
    return "\n".join([f"python train.py {key}=…", *(f"  {choice:{width}}  {text}" for choice, text in found.items())])


def overview() -> str:
    """Return the names of all choices, a line a list."""
    width = max(map(len, GROUPS))
    lines = [f"{name:{width}}  {', '.join(choices(name))}" for name in GROUPS]
    return "\n".join([*lines, "", "python train.py --list methods      describes them, one a line; so with each list"])
