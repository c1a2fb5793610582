"""Checkpoints of a run: step-<n>/state.pt (what trains, optimizer, random states) and manifest.json (sha256 of the
state and of the best weights, the pre-trained weights that both stand on). Written to a temporary folder, renamed,
verified on load; the one before is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from digrap.core.errors import DigrapError
from digrap.core.files import check_sha256, sha256, sync_folder, write_atomically, write_json
from digrap.engine.trained_state import check_base
from digrap.runs.folder import KEEP
from digrap.runs.written import STEP, WEIGHTS

FORMAT = 3  # 1 held the whole model and named no pre-trained weights, 2 no digest of the best weights


def folders(root: Path) -> list[Path]:
    """The finished checkpoints under `root`, oldest first."""
    return sorted(path for path in Path(root).glob("step-*") if STEP.fullmatch(path.name) and path.is_dir())


def weights_files(root: Path) -> list[Path]:
    """The files of tested, or best so far, weights under `root`."""
    return sorted(path for path in Path(root).glob("*.safetensors") if WEIGHTS.fullmatch(path.name))


def manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest: format, step, sha256 of its state, and the notes given to `save`; `weights`, where it is
    among them, maps weights files beside the checkpoint to their sha256, and `run` is the run's hash. Raises
    OSError or ValueError where it is missing or damaged."""
    plain = json.loads((folder / "manifest.json").read_text())
    if not isinstance(plain, dict):
        raise ValueError("manifest.json is not a mapping")
    for key, kind in (("base", dict), ("weights", dict), ("best_epoch", int)):
        if not isinstance(plain.get(key), kind | None):
            raise ValueError(f"manifest.json: {key} is {plain[key]!r:.60}")
    return plain


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
        _put(temporary, final)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        raise DigrapError(f"checkpoint {final} could not be written ({error}); {last_good(root)}") from error
    for earlier in folders(root)[:-KEEP]:
        shutil.rmtree(earlier)
    return final


def _put(folder: Path, place: Path) -> None:
    """Rename a folder to its place, on which one of the same step may be: it is there until this one is, but for an
    instant."""
    before = place.with_name(f".{place.name}.old.tmp")
    shutil.rmtree(before, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        place.rename(before)
    try:
        folder.rename(place)
    except OSError:
        if before.exists():
            before.rename(place)
        raise
    sync_folder(place.parent)
    shutil.rmtree(before, ignore_errors=True)


def drop_weights(root: Path) -> None:
    """Delete the weights that no checkpoint refers to."""
    keep = {name for folder in folders(root) for name in manifest(folder).get("weights") or {}}
    for file in weights_files(root):
        if file.name not in keep:
            file.unlink()


def load(root: Path, base: dict[str, str]) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None where there is none. `base` names the pre-trained weights of this run.

    Raises DigrapError naming a checkpoint that is damaged, whose weights of the best epoch are, that is of another
    format, or stands on other pre-trained weights: an older one is never used silently.
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
    for name, digest in (about.get("weights") or {}).items():
        check_sha256(root / name, digest, _instead(root, found[:-1]))
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _damaged(found, error) from error


def _damaged(found: list[Path], error: Exception) -> DigrapError:
    instead = f"resume from {found[-2]}" if len(found) > 1 else "start this run afresh"
    return DigrapError(f"checkpoint {found[-1]} is damaged ({error}). Delete {found[-1]} to {instead}.")


def _instead(root: Path, older: list[Path]) -> str:
    """The remedy where the best weights of the newest checkpoint are lost: an older checkpoint whose own are whole, or
    else the start."""
    for folder in reversed(older):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if all(sha256(root / name) == digest for name, digest in manifest(folder)["weights"].items()):
                return f"delete {folders(root)[-1]} to resume from {folder}"
    return f"delete {root} to train the run afresh"


def write_weights(file: Path, weights: dict[str, torch.Tensor], base: dict[str, str]) -> str:
    """Write the trained part of a state dict as safetensors and `base`, the pre-trained weights that it stands on, into
    its header; return the file's sha256. Raises DigrapError where it cannot be written."""
    note = {"base": json.dumps(base, sort_keys=True)}  # a header with two notes has them in random order
    try:
        return write_tensors(file, weights, note)
    except OSError as error:
        raise DigrapError(f"{file} could not be written ({error}); {last_good(file.parent)}") from error


def write_tensors(file: Path, tensors: dict[str, torch.Tensor], notes: dict[str, str] | None = None) -> str:
    """Write tensors as safetensors, `notes` into its header, and return the file's sha256. Raises OSError where it
    cannot be written."""
    form = torch.contiguous_format  # copies: tied weights share memory, which a file cannot
    plain = {name: value.detach().cpu().clone(memory_format=form) for name, value in tensors.items()}
    content = safetensors.torch.save(plain, notes)
    write_atomically(file, lambda handle: handle.write(content))
    return hashlib.sha256(content).hexdigest()


def last_good(root: Path) -> str:
    """Where the newest checkpoint lies, as a sentence's end."""
    found = folders(root)
    return f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
