"""A run by its folder, by the beginning of its hash, or as the latest one."""

from __future__ import annotations

import re
from pathlib import Path

from digrap.core.errors import DigrapError
from digrap.core.paths import OUTPUTS
from digrap.runs.folder import RESULTS

LATEST = "latest"
BEGINNING = re.compile(r"[0-9a-f]{4,10}(-fresh\d+)?")
SHOWN = 5


def find_run(name: str, outputs: Path = OUTPUTS) -> Path:
    """The folder of the run that `name` means: itself where it is a path; under `outputs`, the finished run that was
    made last for `latest`, or the only run whose hash begins with it.

    Raises DigrapError where there is none, or several.
    """
    if Path(name).exists() or "/" in name:
        return Path(name)
    if name == LATEST:
        found = sorted(Path(outputs).glob(f"*/*/{RESULTS}"), key=lambda file: file.stat().st_mtime)
        if not found:
            raise DigrapError(f"run={name}: there is no finished run under {outputs}; python train.py makes one")
        return found[-1].parent
    if not BEGINNING.fullmatch(name):
        return Path(name)
    found = sorted(path for path in Path(outputs).glob(f"*/{name}*") if path.is_dir())
    if exact := [path for path in found if path.name == name]:
        found = exact
    if len(found) == 1:
        return found[0]
    if not found:
        raise DigrapError(
            f"run={name}: no run under {outputs} has a hash that begins with this; python scripts/runs.py lists them"
        )
    shown = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
    raise DigrapError(f"run={name}: {len(found)} hashes begin with this: {shown}; give more of the hash, or the folder")
