"""Where a result comes from: versions, commit, device, data; and the memory that it took."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from torch.optim import Optimizer

from digrap.config.schema import CLASSIFICATION, task_of
from digrap.core.paths import REPO
from digrap.core.progress import console
from digrap.data.splits import DataModule
from digrap.data.vqa.leakage import leakage_table
from digrap.runs.folder import RunFolder

STATUS = Path("/proc/self/status")
PACKAGES = ("digrap", "torch", "torchvision", "timm", "accelerate", "hydra-core", "numpy")


def versions(cfg: DictConfig) -> dict[str, str]:
    """Versions of Python and of the packages that a run's result depends on."""
    found = {"python": platform.python_version()}
    further = {
        "transformers": task_of(cfg) != CLASSIFICATION,
        "peft": cfg.peft.get("_target_"),
        "bitsandbytes": cfg.peft.get("name") == "qlora",
        "open_clip_torch": cfg.dataset.get("clip"),
    }
    for name in (*PACKAGES, *(name for name, used in further.items() if used)):
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
    if source.about is None or not (found := source.about()):
        return
    about = {"protocol": source.protocol, "caveats": list(source.caveats), **found}
    run.write_data(about)
    if about.get("leaks"):
        caveats = [f"! {caveat}" for caveat in source.caveats]
        console().print(
            *caveats, "Test examples that occur in the training set:", leakage_table(about["leaks"]), sep="\n"
        )


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Its class, and which of its implementations takes the steps (digrap/optim/paths.py); None where it names none."""
    return {"name": type(optimizer).__name__, "implementation": getattr(optimizer, "implementation", None)}


class PeakMemory:
    """The most memory held since this was made, and in parts of that time, in MB: on the host (elsewhere than on Linux
    since the process began) and, where there is one, on the device."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self._before = accelerator, {}
        _reset_peak(accelerator)

    @contextlib.contextmanager
    def part(self) -> Iterator[dict[str, float]]:
        """Yield a mapping that afterwards has the most memory held meanwhile."""
        self._before, found = self.whole(), {}
        _reset_peak(self.accelerator)
        yield found
        found |= _peak(self.accelerator)

    def whole(self) -> dict[str, float]:
        """The most memory held so far."""
        now = _peak(self.accelerator)
        return {key: max(value, self._before.get(key, 0)) for key, value in now.items()}


def _reset_peak(accelerator: Accelerator) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes the present size
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)


def _peak(accelerator: Accelerator) -> dict[str, float]:
    peak = {}
    if sys.platform != "win32":
        import resource  # Unix alone has it

        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB elsewhere
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if STATUS.exists():
            used = next((int(line.split()[1]) for line in STATUS.read_text().splitlines() if "VmHWM" in line), used)
        peak["host_mb"] = round(used * unit / 1e6, 1)
    if accelerator.device.type == "cuda":
        peak["device_mb"] = round(torch.cuda.max_memory_allocated(accelerator.device) / 1e6, 1)
    return peak


def device_name(accelerator: Accelerator) -> str:
    """The device as a result names it: of one of several processes (`cpu:0`) as of a single one (`cpu`)."""
    device = accelerator.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
