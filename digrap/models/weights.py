"""Weight files: finding and reading them, accounting for every key, and recording which file it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
import torch
from torch import Tensor, nn

from digrap.core.errors import DigrapError, first_line
from digrap.core.files import sha256

SHOWN = 3  # keys that a message names


class Provenance(TypedDict, total=False):
    """Which pre-trained weights a backbone has. `source` is always given, the rest where a file was read."""

    source: str  # a library or project, a file of the repository, "file" for a user's own, or "random weights"
    model: str  # the library's name of the model
    tag: str  # open_clip's name of the weights
    weights: str  # the file's name
    sha256: str
    revision: str  # the commit of the hub's repository
    adapters: str  # the folder or the hub's repository of the adapters that were begun with
    adapters_sha256: str
    image_processor: str  # the class that prepares pictures, and what it computes with


def random_weights() -> Provenance:
    """The provenance of a model that no file was loaded into."""
    return {"source": "random weights"}


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors by name: names, shapes, types and values. DTensors: all ranks must call it."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        value = value.full_tensor() if hasattr(value, "full_tensor") else value
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        if value.numel():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True)
class Account:
    """Every key of a file, and every tensor of a module that is not fresh, each in one place.

    A key of the file is a key of `loaded` (to the module's name) or of `dropped` (to the reason), or is in `unknown`.
    A tensor of the module is a value of `loaded` or is in `missing`, by the key that the file should have. `misshaped`
    describes those of `loaded` whose shapes differ.
    """

    loaded: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """One text for each kind of problem; none where the file fits the module."""
        kinds = {"unknown keys": self.unknown, "missing keys": self.missing, "other shapes": self.misshaped}
        return [f"{kind}: {_few(keys)}" for kind, keys in kinds.items() if keys]


def account(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    prefix: str = "",
    dropped: Mapping[str, str] | None = None,
    fresh: Iterable[str] = (),
) -> Account:
    """Compare a file's tensors with those that a module wants.

    The file's key of a tensor is `prefix` and the module's name. `dropped` maps prefixes of keys that are not for the
    module to the reason; tensors whose names begin with one of `fresh` keep their initial values.
    """
    reasons, fresh = dropped or {}, tuple(fresh)
    places = {prefix + name: name for name in wanted if not name.startswith(fresh)}
    left_out = {key: why for key in state for start, why in reasons.items() if key.startswith(start)}
    loaded = {key: places[key] for key in state if key in places and key not in left_out}
    return Account(
        loaded=loaded,
        dropped=left_out,
        unknown=tuple(key for key in state if key not in places and key not in left_out),
        missing=tuple(sorted(key for key in places if key not in loaded)),
        misshaped=tuple(
            f"{key} {tuple(state[key].shape)} for {tuple(wanted[name].shape)}"
            for key, name in loaded.items()
            if state[key].shape != wanted[name].shape
        ),
    )


@dataclass(frozen=True)
class WeightFile:
    """A file of weights. `option` is what named it and `fix` what to do where it is wrong, both for messages."""

    path: Path
    fix: str
    option: str = "backbone.weights"

    @classmethod
    def find(cls, path: str | Path | None, fix: str, option: str = "backbone.weights") -> WeightFile:
        """The file at `path`. Raises DigrapError where none is given or it does not exist."""
        if path is None:
            raise DigrapError(f"{option}=null: a file of weights is needed; {fix}")
        file = cls(Path(path).expanduser(), fix, option)
        if not file.path.is_file():
            raise file.error("there is no such file")
        return file

    def error(self, text: str) -> DigrapError:
        """A DigrapError that names the file, what is wrong with it and what to do."""
        return DigrapError(f"{self.option}={self.path}: {text}; {self.fix}")

    def read(self) -> dict[str, Tensor]:
        """Tensors by key: of a safetensors file by its suffix, else of a torch file, there of its `state_dict` or
        `model` if it has one.

        No pickled code is run. Raises DigrapError for a file that is damaged or holds anything else.
        """
        kind = "safetensors" if self.path.suffix == ".safetensors" else "torch"
        try:
            found = safetensors.torch.load_file(self.path) if kind == "safetensors" else _torch_file(self.path)
        except Exception as error:  # safetensors, pickle, zip and torch have no base class in common
            raise self.error(f"not a readable {kind} file ({first_line(error)})") from error
        if isinstance(found, dict):
            inner = found.get("state_dict", found.get("model"))
            found = inner if isinstance(inner, dict) else found
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise self.error("it has no state_dict")
        return found

    def load_into(
        self,
        module: nn.Module,
        prefix: str = "",
        dropped: Mapping[str, str] | None = None,
        fresh: Iterable[str] = (),
    ) -> Account:
        """Load the file into `module`; for the options see `account`.

        Raises DigrapError for keys that are unknown or missing and for other shapes, before anything is loaded.
        """
        state = self.read()
        found = account(state, module.state_dict(), prefix, dropped, fresh)
        self.check(found)
        module.load_state_dict({name: state[key] for key, name in found.loaded.items()}, strict=False)
        return found

    def check(self, found: Account) -> None:
        """Raise DigrapError where the account has problems."""
        if problems := found.problems():
            raise self.error(f"the weights do not fit the model ({'; '.join(problems)})")

    def check_shipped(self, digest: str) -> None:
        """Raise DigrapError unless the file has this SHA-256 digest, that of a file which the repository ships."""
        if sha256(self.path) != digest:
            raise self.error("the weights are damaged or of another version (sha256 differs)")

    def provenance(self, source: str, **names: str) -> Provenance:
        """The record of the file: `source`, `names` (model, tag), its own name, sha256 and, from the hub, revision."""
        revision = hub_revision(self.path)
        known: dict[str, Any] = {"source": source, **names, "weights": self.path.name, "sha256": sha256(self.path)}
        return Provenance(**known, **({"revision": revision} if revision else {}))


def hub_revision(path: Path) -> str | None:
    """The commit that a file in the Hugging Face hub's cache belongs to (…/snapshots/<commit>/<file>), else None."""
    parents = [parent.name for parent in path.parents]
    return parents[parents.index("snapshots") - 1] if "snapshots" in parents[1:] else None


def last_line(error: Exception) -> str:
    """The last line of an error's text, where torch puts the detail, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _torch_file(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _few(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:SHOWN]) + (f", … ({len(keys)} in all)" if len(keys) > SHOWN else "")
