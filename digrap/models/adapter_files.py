"""LoRA's adapters in peft's own format: written, and read to begin with.

A folder has adapter_config.json and adapter_model.safetensors. Names of layers are those of the transformers that wrote
them; peft knows how those of transformers 4 are called now.
"""

from __future__ import annotations

import copy
import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from digrap.core.errors import DigrapError
from digrap.core.files import sha256, write_atomically
from digrap.models.backbone import Backbone
from digrap.models.hub_model import ADAPTER_WEIGHTS, find_adapters
from digrap.models.lora_layers import TARGETS, target_layers
from digrap.models.weights import Provenance, WeightFile, last_line

log = logging.getLogger(__name__)
ADAPTER = "default"  # peft's name
CONFIG, WEIGHTS = "adapter_config.json", ADAPTER_WEIGHTS[0]
PLAIN = {  # options of peft's LoRA that our adapters have at these values alone
    "peft_type": ("LORA",), "use_dora": (False, None), "use_rslora": (False, None), "bias": ("none", None),
    "lora_bias": (False, None), "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "modules_to_save": ([], None),
    "fan_in_fan_out": (False, None), "trainable_token_indices": ([], {}, None), "target_parameters": ([], None),
    "init_lora_weights": (True, False, "gaussian", "eva", None),  # under others the base is changed too
}  # fmt: skip


def write_adapter(module: nn.Module, folder: Path, stands_on: Provenance) -> None:
    """Write the adapters of a model that `lora` changed into `folder`, in peft's own format: adapter_config.json and
    adapter_model.safetensors. `peft.PeftModel.from_pretrained(model, folder)` loads them.

    `stands_on` is the record of the weights below them: its model is named in the config, its sha256 in the header of
    the tensors, so that they are not begun with on another model.
    """
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(module, adapter_name=ADAPTER, save_embedding_layers=False)
    tensors = {f"base_model.model.{name}": value.detach().cpu().contiguous() for name, value in found.items()}
    config = copy.copy(module.peft_config[ADAPTER])
    config.inference_mode = True  # as peft saves one: who loads it asks for training
    if stands_on.get("source") != "file":  # a folder of this machine
        config.base_model_name_or_path, config.revision = stands_on.get("model"), stands_on.get("revision")
    for key in ("target_modules", "exclude_modules"):  # sets, in random order
        if not isinstance(value := getattr(config, key), str):
            setattr(config, key, sorted(value or ()) or None)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    note = {"format": "pt"} | ({"base_sha256": stands_on["sha256"]} if stands_on.get("sha256") else {})
    content = safetensors.torch.save(tensors, dict(sorted(note.items())))
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))


@dataclass(frozen=True)
class Published:
    """Adapters to begin with: `start` as it was given, their folder, and `base`, what they call their model."""

    start: str
    folder: Path
    base: str | None

    @classmethod
    def of(cls, start: str | None, revision: str | None, base: str | None) -> Published | None:
        """The adapters that the options name, fetched where need be; None without `start`. Raises DigrapError where
        they are not found."""
        if start is None:
            if further := [f"peft.{key}={value}" for key, value in (("revision", revision), ("base", base)) if value]:
                raise DigrapError(f"{further[0]}: it belongs to peft.start, which is null; give that too, or neither")
            return None
        return cls(str(start), find_adapters(str(start), revision), base)

    @property
    def config(self) -> dict[str, Any]:
        """Their adapter_config.json. Raises DigrapError where it cannot be read."""
        file = self.folder / CONFIG
        try:
            plain = json.loads(file.read_text("utf-8"))
            if not isinstance(plain, dict):
                raise ValueError("it holds no mapping")
        except (OSError, ValueError) as error:
            raise self.error(f"{file} cannot be read ({error}); fetch it again") from error
        return plain

    @property
    def file(self) -> Path:
        """Their tensors."""
        return next(path for name in ADAPTER_WEIGHTS if (path := self.folder / name).is_file())

    def error(self, text: str) -> DigrapError:
        """A DigrapError that names the adapters."""
        return DigrapError(f"peft.start={self.start}: {text}")


def load_adapters(backbone: Backbone, published: Published, targets: str | Sequence[str]) -> None:
    """Give the adapters of a model that `lora` changed the values of published ones; `targets` is how they were chosen.

    The model stays anchored at zero adapters. Raises DigrapError for adapters of another kind, rank, α, model or of
    other layers, and for damaged files.
    """
    from peft import set_peft_model_state_dict

    module, config, file = backbone.module, published.config, published.file
    _check_config(published, config, module.peft_config[ADAPTER])
    tensors = WeightFile(file, "fetch it again", "peft.start").read()
    _check_base(published, config, backbone.provenance)
    try:
        result = set_peft_model_state_dict(module, tensors, ADAPTER)
    except Exception as error:  # torch, peft and transformers have no base class in common
        raise published.error(f"the tensors of {file} do not fit the model ({last_line(error)})") from error
    missing = {_layer(key) for key in result.missing_keys if "lora_" in key}
    unknown = {_layer(key) for key in result.unexpected_keys}
    if missing or unknown:
        raise published.error(_other_layers(module, file, targets, missing, unknown))
    about = {"adapters": published.start, "adapters_sha256": sha256(file)}
    backbone.provenance |= about
    log.info("adapters are initialised from %s", published.folder)


def _check_config(published: Published, config: dict[str, Any], own: Any) -> None:
    """Raise DigrapError where the adapters are of a kind that ours are not, or have another rank or α."""
    for key, values in PLAIN.items():
        if (value := config.get(key, values[0])) not in values:
            raise published.error(
                f"its {CONFIG} has {key}={value}, which is not supported; use adapters with {key}={values[0]}"
            )
    wanted = {"r": (config.get("r"), own.r), "alpha": (config.get("lora_alpha"), own.lora_alpha)}
    if any(value is None or value != mine for value, mine in wanted.values()):
        theirs, ours = (" ".join(f"peft.{key}={pair[k]}" for key, pair in wanted.items()) for k in (0, 1))
        raise published.error(f"its adapters have other sizes than {ours}; give {theirs}")


def _check_base(published: Published, config: dict[str, Any], stands_on: Provenance) -> None:
    """Raise DigrapError where the adapters were trained on another model than the backbone: by its sha256 where they
    have that, else by its name."""
    theirs, ours = config.get("base_model_name_or_path") or None, stands_on.get("model")
    if digest := _base_sha256(published.file):
        if digest != stands_on.get("sha256"):
            raise published.error(
                f"its adapters were trained on weights with sha256 {digest[:12]} ({theirs or 'without a name'}), but "
                f"the backbone's is {str(stands_on.get('sha256'))[:12]} ({ours or stands_on.get('source')}); give the "
                "backbone the weights that they were trained on"
            )
        return
    if theirs is None:
        log.warning("%s names no base model, so whether it is the backbone was not checked", published.folder / CONFIG)
    elif published.base is not None:
        if published.base != theirs:
            raise published.error(f"peft.base={published.base}: its {CONFIG} names {theirs}; give that if it is right")
    elif not _one_model(theirs, ours):
        model, base = (shlex.quote(f"{key}={theirs}") for key in ("backbone.model", "peft.base"))
        raise published.error(
            f"its adapters were trained on {theirs}, but the backbone is {ours or stands_on.get('source')}; give "
            f"{model}, or {base} if the backbone is that model under another name"
        )


def _base_sha256(file: Path) -> str | None:
    """The digest that `write_adapter` notes."""
    if file.suffix != ".safetensors":
        return None
    with safetensors.safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get("base_sha256")


def _one_model(theirs: str, ours: str | None) -> bool:
    """Whether two names are of one model: equal, one folder, or a folder called as the hub's repository."""
    if ours is None:
        return False
    folder, other = Path(ours).expanduser(), Path(theirs).expanduser()
    if theirs == ours or not folder.is_dir():
        return theirs == ours
    return folder.resolve() == other.resolve() or (not other.is_absolute() and folder.resolve().name == other.name)


def _layer(key: str) -> str:
    """The name of the layer whose adapter a tensor is."""
    return key.removeprefix("base_model.model.").partition(".lora_")[0]


def _other_layers(
    module: nn.Module, file: Path, targets: str | Sequence[str], missing: set[str], unknown: set[str]
) -> str:
    """What differs between the layers of the file and the model's, and which targets give those of the file."""
    theirs = target_layers(module, targets) - missing | unknown
    choices = [*getattr(module, "lora_targets", TARGETS), sorted({name.rpartition(".")[2] for name in theirs})]
    fitting = next((choice for choice in choices if target_layers(module, choice) == theirs), None)
    shown = fitting if isinstance(fitting, str) or fitting is None else f"[{','.join(fitting)}]"
    parts = [
        f"{file} has {text} {sorted(names)[0]} ({len(names)} such layers)"
        for text, names in (("no adapter for", missing), ("one for", unknown))
        if names
    ]
    fits = f"give {shlex.quote(f'peft.targets={shown}')}"
    remedy = fits if fitting else "no peft.targets gives its layers: it belongs to another model"
    return f"its adapters are on other layers than those of peft.targets={targets}: {', '.join(parts)}; {remedy}"
