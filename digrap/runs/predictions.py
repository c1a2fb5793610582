"""Prediction bundles: what a run answered, from which every score can be computed again. Imports no torch.

A run folder holds `predictions.npz` with `<split>.prediction` (the smallest integer type) and `<split>.probability`
(float16), in the split's order. The truth is the same for every run of a dataset and seed, so it is kept once, in
`labels/<digest>.npz` beside the run folders, as `<split>.label`; the run's `truth` entry names the digest.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from digrap.core.errors import DigrapError
from digrap.core.files import write_atomically

PREDICTIONS = "predictions.npz"
TRUTH = "truth"  # the array in predictions.npz that holds the digest of its labels


def write_bundle(
    path: Path, predictions: dict[str, np.ndarray], labels: dict[str, np.ndarray], labels_folder: Path | None = None
) -> str:
    """Write <path> with the predictions, and labels_folder/labels/<digest>.npz, by default beside the folder that the
    bundle lies in. Returns the digest."""
    truth = {name: _small(labels[name]) for name in sorted(labels)}
    digest = labels_digest(truth)
    kept = labels_file(labels_folder or path.parent.parent, digest)
    if not kept.exists():
        _write(kept, truth)
    _write(path, {name: _small(array) for name, array in predictions.items()} | {TRUTH: np.array(digest)})
    return digest


def labels_file(folder: Path, digest: str) -> Path:
    """Where the labels of a digest lie, beside the run folders in `folder`."""
    return folder / "labels" / f"{digest}.npz"


def labels_digest(labels: dict[str, np.ndarray]) -> str:
    """Ten hexadecimal digits of the labels' content."""
    digest = hashlib.sha256()
    for name, array in sorted(labels.items()):
        digest.update(f"{name} {array.shape} ".encode() + np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.hexdigest()[:10]


def read_bundle(path: Path, labels_folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(predictions, labels) of a run, by `<split>.<key>`; labels_folder/labels/ has the labels.

    Raises DigrapError where a file is missing or damaged, or labels are not those the run was scored with.
    """
    predictions = _read(path)
    if TRUTH not in predictions:
        raise DigrapError(f"{path}: it does not say which labels it belongs to; make the run again")
    digest = str(predictions.pop(TRUTH))
    labels = _read(labels_file(labels_folder, digest))
    if labels_digest(labels) != digest:
        raise DigrapError(
            f"{labels_file(labels_folder, digest)}: the labels are not those of its name; make a run again"
        )
    return predictions, labels


def _small(array: np.ndarray) -> np.ndarray:
    """float16, or the smallest integer type that holds every value."""
    if array.dtype.kind == "f":
        return array.astype(np.float16)
    if array.dtype.kind in "iu":
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        return array.astype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high)))
    return array


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz whose bytes depend on its arrays alone: no times of day in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            inner = io.BytesIO()
            np.lib.format.write_array(inner, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), inner.getvalue(), zipfile.ZIP_DEFLATED)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DigrapError(f"{path}: the predictions cannot be read ({error}); make the run again") from error
