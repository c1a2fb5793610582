"""The choices of every config group, described by the first comment line of their files. Imports no library."""

from __future__ import annotations

from pathlib import Path

from digrap.core.errors import DigrapError, nearest
from digrap.core.paths import CONFIGS

# The name of a list → the folder in configs/, which is also the key on the command line.
GROUPS = {
    "methods": "optim",
    "datasets": "dataset",
    "backbones": "backbone",
    "tables": "tables",
    "trainers": "trainer",
    "schedules": "schedule",
    "loggers": "logger",
    "peft": "peft",
    "clusters": "cluster",
}


def choices(name: str) -> dict[str, str]:
    """Return {choice: description} of a list, in alphabetical order. Raises DigrapError for an unknown list."""
    if name not in GROUPS:
        raise DigrapError(f"--list {name}: there is no such list; {nearest(name, GROUPS)}")
    files = sorted((CONFIGS / GROUPS[name]).glob("[!_]*.yaml"))
    return {file.stem: description(file) for file in files}


def description(file: Path) -> str:
    """Return the first comment line of a yaml file, without its `#`; Hydra's `# @package` line is not a comment."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            return line.removeprefix("#").strip()
    return ""


def how_to_list(group: str) -> str | None:
    """Return the hint on the list of a config group, for messages about an unknown choice; None where none has it."""
    lists = {folder: name for name, folder in GROUPS.items()}
    return f"`python train.py --list {lists[group]}` describes them all" if group in lists else None
