"""Checkpoints of a run: step-<n>/state.pt (what trains, optimizer, random states) and manifest.json (sha256, the
pre-trained weights that the state stands on). Written to a temporary folder, renamed, verified on load; the one before
is kept."""

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
from digrap.engine.trained_state import check_base
from digrap.runs.folder import KEEP

FORMAT = 2  # 1 held the whole model and named no pre-trained weights


def folders(root: Path) -> list[Path]:
    """The finished checkpoints under `root`, oldest first."""
    return sorted(path for path in Path(root).glob("step-*") if path.is_dir())


def manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest: format, step, sha256 of its state, and the notes given to `save`."""
    return json.loads((folder / "manifest.json").read_text())


def save(root: Path, step: int, state: dict[str, Any], **notes: Any) -> Path:
    """Write `state` as checkpoint `step`, `notes` into its manifest, and delete all but the newest two.

    Raises DigrapError where it cannot be written (a full disk); earlier checkpoints are whole then.
    """
    root = Path(root)
    final, temporary = root / f"step-{step:08d}", root / f".step-{step:08d}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write_atomically(temporary / "state.pt", lambda file: torch.save(state, file))
        about = {"format": FORMAT, "step": step, "sha256": sha256(temporary / "state.pt"), **notes}
        write_json(temporary / "manifest.json", about)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise DigrapError(f"checkpoint {final} could not be written ({error}); {last_good(root)}") from error
    for old in folders(root)[:-KEEP]:
        shutil.rmtree(old)
    return final


def load(root: Path, base: dict[str, str]) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None where there is none. `base` names the pre-trained weights of this run.

    Raises DigrapError naming a checkpoint that is damaged, of another format, or stands on other pre-trained weights:
    an older one is never taken silently.
    """
    found = folders(root)
    if not found:
        return None
    newest = found[-1]
    file = newest / "state.pt"
    try:
        about = manifest(newest)
        if about.get("format", 1) == FORMAT and sha256(file) != about["sha256"]:
            raise ValueError("its sha256 differs from the manifest's")
    except Exception as error:
        raise _damaged(found, error) from error
    if (format := about.get("format", 1)) != FORMAT:
        raise DigrapError(
            f"checkpoint {newest} has format {format}, this version reads {FORMAT}: delete {root.parent} to start the "
            "run afresh, or finish it with the version that began it"
        )
    check_base(about.get("base") or {}, base, newest)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _damaged(found, error) from error


def _damaged(found: list[Path], error: Exception) -> DigrapError:
    instead = f"resume from {found[-2]}" if len(found) > 1 else "start this run afresh"
    return DigrapError(f"checkpoint {found[-1] / 'state.pt'} is damaged ({error}). Delete {found[-1]} to {instead}.")


def write_weights(file: Path, weights: dict[str, torch.Tensor], base: dict[str, str], **notes: str) -> None:
    """Write the trained part of a state dict as safetensors; `base`, the pre-trained weights that it stands on, and
    `notes` go into its header. Raises DigrapError where it cannot be written."""
    try:
        write_tensors(file, weights, {**notes, "base": json.dumps(base, sort_keys=True)})
    except OSError as error:
        raise DigrapError(f"{file} could not be written ({error}); {last_good(file.parent)}") from error


def write_tensors(file: Path, tensors: dict[str, torch.Tensor], notes: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, `notes` into its header. Raises OSError where it cannot be written."""
    form = torch.contiguous_format  # copies: tied weights share memory, which a file cannot
    plain = {name: value.detach().cpu().clone(memory_format=form) for name, value in tensors.items()}
    write_atomically(file, lambda handle: handle.write(safetensors.torch.save(plain, notes)))


def clear(root: Path) -> None:
    """Remove all checkpoints: the run is done."""
    for folder in folders(root):
        shutil.rmtree(folder)


def last_good(root: Path) -> str:
    """Where the newest checkpoint lies, as a sentence's end."""
    found = folders(root)
    return f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
