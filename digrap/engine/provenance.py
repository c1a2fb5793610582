"""Where a result comes from (versions, commit, device, data), and the log of its metrics."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import REPO
from digrap.core.progress import console
from digrap.data.splits import DataModule
from digrap.data.vqa.leakage import leakage_table
from digrap.runs.folder import RunFolder

PACKAGES = ("digrap", "torch", "torchvision", "timm", "accelerate", "hydra-core", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> dict[str, Any]:
    """The repository's commit, and whether tracked files that make results differ from it (None: no git here)."""
    git = ["git", "-C", str(REPO)]
    # What tables write (winners, published results) and texts change no run.
    paths = [".", ":!configs/best", ":!docs", ":!*.md"]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "-uno", "--", *paths]
        changed = subprocess.run(status, capture_output=True, text=True, check=True)
        return {"commit": head, "dirty": bool(changed.stdout.strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": None}


def describe_data(run: RunFolder, source: DataModule) -> None:
    """Write the dataset's description (counts, faults, leakage) as data.json, and print the leakage into training."""
    if source.about is None:
        return
    about = {"protocol": source.protocol, "caveats": list(source.caveats), **source.about()}
    write_json(run.data_file, about)
    if about.get("leaks"):
        caveats = [f"! {caveat}" for caveat in source.caveats]
        console().print("Test examples that are in training:", *caveats, leakage_table(about["leaks"]), sep="\n")


def peak_memory(accelerator: Accelerator) -> dict[str, float]:
    """The most memory that this process has held so far, in MB: on the host and, where there is one, on the device."""
    peak = {}
    if sys.platform != "win32":
        import resource  # Unix alone has it

        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
        peak["host_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
    if accelerator.device.type == "cuda":
        peak["device_mb"] = round(torch.cuda.max_memory_allocated(accelerator.device) / 1e6, 1)
    return peak


def device_name(accelerator: Accelerator) -> str:
    """The device as a result names it."""
    device = accelerator.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


class Metrics:
    """metrics.jsonl, one JSON object a line, and further sinks (callables that take such an object)."""

    def __init__(self, path: Path, sinks: tuple = ()):
        self.path, self.sinks = Path(path), sinks

    def write(self, event: str, **values: Any) -> None:
        """Append one record."""
        record = {"event": event, **values}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise DigrapError(f"{self.path} could not be written ({error})") from error
        for sink in self.sinks:
            sink(record)

    def size(self) -> int:
        """Bytes written so far: a checkpoint's position in the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size: int) -> None:
        """Drop what was written after a checkpoint: the resumed run writes it again."""
        if self.size() > size:
            with open(self.path, "r+b") as file:
                file.truncate(size)
