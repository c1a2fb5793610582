"""The folder of a model or of adapters, in the formats of transformers and peft: a user's own, or the Hugging Face
hub's, first from the local cache.

Without network transformers itself would try for most of a minute; here one request decides, and a message says how
large the weights are, under which licence, and how to get them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
from huggingface_hub import constants, errors

from digrap.core.errors import DigrapError, first_line
from digrap.core.files import sha256
from digrap.models.weights import Provenance, hub_revision

log = logging.getLogger(__name__)
PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors")
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
COMMIT = "[0-9a-f]{40}"
TIMEOUT = 10  # seconds of the one request that decides whether the hub gives the files


class Terms(NamedTuple):
    """Size and licence of published weights, for messages."""

    size: str
    licence: str


TERMS = {  # by the beginning of the repository's name
    "google/paligemma-3b-": Terms("11.7 GB", "Gemma's terms of use, to be accepted on that page"),
    "llava-hf/llava-1.5-7b-hf": Terms("14.1 GB", "Llama 2 community licence"),
}
PINNED = {  # the commits that configs name, each of one repository
    "35e4f46485b4d07967e7e9935bc3786aad50687c": "google/paligemma-3b-pt-224",
    "b234b804b114d9e37bb655e11cbbb5f5e971b7a9": "llava-hf/llava-1.5-7b-hf",
}


def find_model(model: str, revision: str | None) -> Path:
    """The folder of `model`, a folder or a repository of the hub at `revision` (None: its main branch), complete.

    A folder has no revision. Of a repository the local cache comes first, then the network, unless HF_HUB_OFFLINE is
    set. Raises DigrapError where it is neither, is not complete, or may not be fetched.
    """
    return MODEL.find(model, revision)


def model_to_fetch(model: str, revision: str | None) -> str:
    """What `find_model` would fetch, as a sentence; "" for a folder and what the local cache has. Nothing is asked of
    the hub."""
    return MODEL.to_fetch(model, revision)


def find_adapters(start: str, revision: str | None) -> Path:
    """The folder of adapters in peft's format, found as `find_model` finds a model."""
    return ADAPTERS.find(start, revision)


def lacks(folder: Path) -> str:
    """What a folder in transformers' format lacks of its config, processor and weights: "" where it is complete."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        return "processor_config.json"
    if not (files := weight_files(folder)):
        return SINGLE
    return next((path.name for path in files if not path.is_file()), "")


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, by the index where there is one; they may be missing. [] where none is named.

    Raises DigrapError for an index that cannot be read.
    """
    index = folder / INDEX
    if not index.is_file():
        return [folder / SINGLE] if (folder / SINGLE).is_file() else []
    try:
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DigrapError(f"{index}: the index of weights cannot be read ({error}); fetch the file again") from error


def provenance(model: str, folder: Path) -> Provenance:
    """The record of a folder's weights: of several files sha256 is that of their names and digests."""
    files, revision = weight_files(folder), hub_revision(folder / "config.json")
    digests = [sha256(path) for path in files]
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, files, strict=True))
    whole = digests[0] if len(files) == 1 else hashlib.sha256(lines.encode()).hexdigest()
    source = "file" if Path(model).expanduser().is_dir() else "Hugging Face hub"
    found = Provenance(source=source, model=model, weights=", ".join(path.name for path in files), sha256=whole)
    return Provenance(**found, revision=revision) if revision else found


def cached_file(repository: str, files: Sequence[str], revision: str | None = None) -> Path | None:
    """The first of a repository's `files` that the local cache has."""
    found = (huggingface_hub.try_to_load_from_cache(repository, file, revision=revision) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def ask(repository: str, files: Sequence[str], revision: str | None = None) -> None:
    """Raise the hub's error unless the repository has one of the `files`; nothing is tried twice."""
    for place, file in enumerate(files, 1):
        try:
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(repository, file, revision=revision), timeout=TIMEOUT
            )
            return
        except errors.RemoteEntryNotFoundError:
            if place == len(files):
                raise


@contextlib.contextmanager
def cache_alone() -> Iterator[None]:
    """Within it the hub's client takes files from the local cache, and does not ask whether the hub has newer ones."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def lacks_of_adapters(folder: Path) -> str:
    """What a folder in peft's format lacks: "" where it is complete."""
    if not (folder / "adapter_config.json").is_file():
        return "adapter_config.json"
    return "" if any((folder / name).is_file() for name in ADAPTER_WEIGHTS) else ADAPTER_WEIGHTS[0]


@dataclass(frozen=True)
class Kind:
    """What is looked for: `option` names it, and `revision_option` its revision, in the config; a folder of it has
    files of `patterns`, one of them called `config`, and `lacks` says what it has not. `noun` of `library` is what
    messages call it, `of` its files."""

    option: str
    revision_option: str
    patterns: tuple[str, ...]
    config: str
    lacks: Callable[[Path], str]
    library: str
    of: str
    noun: str

    def find(self, name: str, revision: str | None) -> Path:
        """See `find_model`."""
        folder = Path(name).expanduser()
        if folder.is_dir():
            if lacking := self.lacks(folder):
                raise DigrapError(
                    f"{self.option}={name}: the folder has no {lacking}; it must be complete, as save_pretrained or "
                    "`hf download` leaves it"
                )
            return folder
        if not _is_name(name):
            raise DigrapError(
                f"{self.option}={name}: there is no such folder ({folder.absolute()}); give one, or a {self.noun} of "
                "the Hugging Face hub as owner/name"
            )
        if (owner := PINNED.get(revision or "", name)) != name:
            raise DigrapError(
                f"{self.option}={name}: {self.revision_option}={revision} is a commit of {owner}; give one of {name}, "
                f"or {self.revision_option}=main"
            )
        folder = self._cached(name, revision) or self._fetched(name, revision)
        if self.revision_option != self.option and not re.fullmatch(COMMIT, revision or ""):
            log.warning(
                "%s=%s: %s may change; it is now commit %s, and %s=%s pins it", self.option, name,
                f"the revision {revision or 'main'}", folder.name, self.revision_option, folder.name,
            )  # fmt: skip
        return folder

    def to_fetch(self, name: str, revision: str | None) -> str:
        """See `model_to_fetch`."""
        if not _is_name(name) or Path(name).expanduser().is_dir() or self._cached(name, revision):
            return ""
        return f"{self.option}={name} is not in the local cache either: {_how_to_get(name, revision)}"

    def _cached(self, name: str, revision: str | None) -> Path | None:
        """The repository's folder in the local cache, where all of it is there."""
        try:
            folder = huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=self.patterns, local_files_only=True
            )
        except (errors.HFValidationError, OSError):  # the hub's errors of missing files are OSErrors
            return None
        return None if self.lacks(Path(folder)) else Path(folder)

    def _fetched(self, name: str, revision: str | None) -> Path:
        """The repository's folder, fetched. Raises DigrapError that says why it could not be, and what to do."""
        if constants.is_offline_mode():
            raise self._error(name, revision, "HF_HUB_OFFLINE is set: unset it to fetch them")
        try:
            config = huggingface_hub.hf_hub_url(name, self.config, revision=revision)
            huggingface_hub.get_hf_file_metadata(config, timeout=TIMEOUT)
            folder = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=self.patterns))
        except Exception as error:  # huggingface_hub and its http library have no base class in common
            raise self._error(name, revision, self._reason(name, revision, error)) from error
        if lacking := self.lacks(folder):
            raise self._error(name, revision, f"the repository has no {lacking}: use another {self.noun}")
        return folder

    def _reason(self, name: str, revision: str | None, error: Exception) -> str:
        """Why the hub did not give the files, and what to do about it."""
        page = f"https://huggingface.co/{name}"
        if isinstance(error, errors.GatedRepoError):
            return f"they are gated: accept their licence on {page}, then `hf auth login`"
        if isinstance(error, errors.RepositoryNotFoundError):
            return "the hub shows no such repository: check the name; a private one needs `hf auth login`"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"the repository has no revision {revision}: {self.revision_option}=main is its newest"
        if isinstance(error, errors.HFValidationError):
            return f"that is not a name on the hub ({first_line(error)}): give owner/name"
        if isinstance(error, errors.RemoteEntryNotFoundError):
            return f"the repository has no {self.config}: it is not a {self.noun} of {self.library}; use another"
        return f"{constants.ENDPOINT} could not be reached or broke off ({first_line(error)}): restore the network"

    def _error(self, name: str, revision: str | None, reason: str) -> DigrapError:
        return DigrapError(
            f"{self.option}={name}: {self.of} are not complete in the local cache ({constants.HF_HUB_CACHE}), and "
            f"{reason}. {_how_to_get(name, revision)} on a machine with a network; a folder copied from there is "
            f"{self.option}=<folder>"
        )


def _is_name(name: str) -> bool:
    """Whether the hub may have a repository of that name: else it is meant for a folder."""
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)) and not name.startswith(("~", "."))


def _how_to_get(name: str, revision: str | None) -> str:
    """Page, size, licence and command of a repository, for messages."""
    terms = next((terms for start, terms in TERMS.items() if name.startswith(start)), None)
    told = f"{terms.size}; licence: {terms.licence}" if terms else "size and licence are on that page"
    command = shlex.join(["hf", "download", name, *(["--revision", revision] if revision else [])])
    return f"https://huggingface.co/{name} has them ({told}). `{command}` fetches them"


MODEL = Kind(
    "backbone.model", "backbone.revision", PATTERNS, "config.json", lacks, "transformers", "its weights", "model"
)
ADAPTERS = Kind(
    "peft.start", "peft.revision", ("adapter_*",), "adapter_config.json", lacks_of_adapters, "peft", "its adapters",
    "LoRA adapter",
)  # fmt: skip
