"""What a run trained, written for other libraries: adapters for peft, or the merged model for transformers."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from digrap.core.errors import DigrapError
from digrap.engine.rescore import trained_backbone
from digrap.engine.trained_state import base_of, read_weights
from digrap.models.adapter_files import write_adapter
from digrap.models.lora import has_adapters
from digrap.models.merged import save_merged


def write_adapter_form(cfg: DictConfig, classes: tuple[str, ...], weights: Path, folder: Path) -> None:
    """Write the adapters of a run. Raises DigrapError where it has none, where they are not all that it trained, and
    for a classifier."""
    backbone = trained_backbone(cfg, classes, weights)
    if not has_adapters(backbone.module):
        raise DigrapError(f"form=adapter: peft={cfg.peft.name} has no adapters; give form=merged or form=run")
    if backbone.answering is None:
        raise DigrapError(
            f"form=adapter: backbone={cfg.backbone.name} is a classifier, which peft alone could not rebuild; form=run "
            "writes the whole model"
        )
    trained = read_weights(weights, base_of(backbone), backbone.module)
    if further := [name for name in trained if ".lora_" not in name]:
        raise DigrapError(
            f"form=adapter: the run trained more than its adapters ({further[0]}; {len(further)} tensors), and peft "
            "would load the adapters without the rest and not say so; give form=merged"
        )
    write_adapter(backbone.module, folder, backbone.provenance)


def write_merged_form(cfg: DictConfig, classes: tuple[str, ...], weights: Path, folder: Path) -> None:
    """Write a run's model, its adapters merged, in transformers' format. Raises DigrapError for models of other
    libraries."""
    save_merged(trained_backbone(cfg, classes, weights), folder)
