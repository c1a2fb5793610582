"""Checkpoints: written to a temporary folder, renamed, verified on load; the one before is kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_atomically, write_json

KEEP = 2


def folders(root: Path) -> list[Path]:
    """The finished checkpoints under `root`, oldest first."""
    return sorted(path for path in Path(root).glob("step-*") if path.is_dir())


def manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest: step, sha256 of its state, and what `save` was told to note."""
    return json.loads((folder / "manifest.json").read_text())


def save(root: Path, step: int, state: dict[str, Any], **notes: Any) -> Path:
    """Write `state` as checkpoint `step`, `notes` into its manifest, and drop all but the newest two.

    Raises DigrapError when it can't be written (a full disk); earlier checkpoints are whole then.
    """
    root = Path(root)
    final, temporary = root / f"step-{step:08d}", root / f".step-{step:08d}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write_atomically(temporary / "state.pt", lambda file: torch.save(state, file))
        write_json(temporary / "manifest.json", {"step": step, "sha256": sha256(temporary / "state.pt"), **notes})
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise DigrapError(f"checkpoint {final} could not be written ({error}); {last_good(root)}") from error
    for old in folders(root)[:-KEEP]:
        shutil.rmtree(old)
    return final


def load(root: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None where there is none.

    Raises DigrapError naming a checkpoint that is damaged: an older one is never taken silently.
    """
    found = folders(root)
    if not found:
        return None
    newest = found[-1]
    file = newest / "state.pt"
    try:
        expected = manifest(newest)["sha256"]
        if sha256(file) != expected:
            raise ValueError("its sha256 differs from the manifest's")
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        instead = f"resume from {found[-2]}" if len(found) > 1 else "start this run afresh"
        raise DigrapError(f"checkpoint {file} is damaged ({error}). Delete {newest} to {instead}.") from error


def write_weights(file: Path, weights: dict[str, torch.Tensor], **notes: str) -> None:
    """Write a state dict as safetensors, `notes` into its header. Raises DigrapError when it can't be written."""
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    try:
        write_atomically(file, lambda handle: handle.write(safetensors.torch.save(plain, notes)))
    except OSError as error:
        raise DigrapError(f"{file} could not be written ({error}); {last_good(file.parent)}") from error


def clear(root: Path) -> None:
    """Remove all checkpoints: the run is done."""
    for folder in folders(root):
        shutil.rmtree(folder)


def last_good(root: Path) -> str:
    """Where the newest checkpoint lies, as a sentence's end."""
    found = folders(root)
    return f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
