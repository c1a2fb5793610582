"""Upload what runs with logger=wandb have written to disk: `python scripts/sync.py [outputs=outputs] [dry_run=true]`.

outputs   a folder with runs, or one run's folder
dry_run   true: list what would be uploaded

All starts of a run are uploaded under one id, in order; what was uploaded before is skipped. You can interrupt it at
any time; the same command continues.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from digrap.cli.arguments import bare_keys, check_flags
from digrap.core.errors import DigrapError
from digrap.core.network import answers
from digrap.core.paths import OUTPUTS


def main() -> None:
    """Find, check login and network, upload."""
    options = bare_keys(sys.argv[1:], {"outputs": str(OUTPUTS), "dry_run": False})
    check_flags(options, "dry_run")
    outputs = Path(str(options.outputs)).expanduser()
    if not outputs.is_dir():
        raise DigrapError(f"outputs={options.outputs}: there is no such folder; give a run's folder, or one with runs")
    found = waiting(outputs)
    for folder in found if options.dry_run else ():
        print(folder)
    print(f"{outputs}: {len(found)} offline logs to upload")
    if found and not options.dry_run:
        check_server()
        upload(found)


def waiting(outputs: Path) -> list[Path]:
    """The folders of Weights & Biases under `outputs` that are not uploaded, oldest first."""
    files = [
        *outputs.rglob("wandb/offline-run-*/*.wandb"),
        *outputs.rglob("wandb/run-*/*.wandb"),  # sent as they came, as far as the network went
    ]
    left = {file.parent for file in files if not file.with_name(f"{file.name}.synced").exists()}
    return sorted(left, key=lambda folder: (folder.name.rpartition("run-")[2], folder))


def check_server() -> None:
    """Raise DigrapError without a login or an answer from the server."""
    import wandb

    server = wandb.setup().settings.base_url
    if not answers(server):
        raise DigrapError(f"{server} does not answer: connect this machine, or run this where the folders can be read")
    if not wandb.api.api_key:
        raise DigrapError("not logged in at Weights & Biases: `wandb login`, or set WANDB_API_KEY")


def upload(folders: list[Path]) -> None:
    """Upload all of them by `wandb sync`. Raises DigrapError where one fails."""
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-online", *map(str, folders)]
    if subprocess.run(command).returncode:
        left = [folder for folder in folders if folder in waiting(folder.parent.parent)]
        first = f" (first: {left[0]})" if left else ""
        raise DigrapError(f"{len(left)} of {len(folders)} were not uploaded{first}; the same command continues")
