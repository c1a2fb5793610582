"""The objects of a run, built once and handed to fitting, what follows it, and testing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from accelerate import Accelerator
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from digrap.data.splits import DataModule, Split
from digrap.engine.build import build_backbone, build_data
from digrap.engine.probe import Probe, hold_out
from digrap.engine.provenance import Metrics
from digrap.methods.method import Context, Method
from digrap.models.backbone import Backbone
from digrap.optim.groups import covered
from digrap.tasks.classification import Classification


@dataclass
class Datasets:
    """The data that fitting sees, loaded when first used. `held_out` is the share of the training split kept back."""

    source: DataModule
    held_out: float
    seed: int

    def of_kind(self, kind: str) -> Split:
        """The one split of a kind."""
        (split,) = self.source.of_kind(kind)
        return split

    @cached_property
    def _shares(self) -> tuple[Dataset, Dataset | None]:
        whole = self.of_kind("id_train").load()
        return hold_out(whole, self.held_out, self.seed) if self.held_out else (whole, None)

    @property
    def train(self) -> Dataset:
        """The training split, without what is kept back."""
        return self._shares[0]

    @cached_property
    def validation(self) -> Dataset:
        """The ID validation split."""
        return self.of_kind("id_val").load()

    @property
    def probe(self) -> Dataset:
        """What hooks learn from: the share kept back, else ID validation."""
        return self._shares[1] if self.held_out else self.validation

    @cached_property
    def tested(self) -> list[Split]:
        """Every split but the training one, each loaded once."""
        return [
            replace(split, load=cache(split.load)) for split in self.source.splits.values() if split.kind != "id_train"
        ]


@dataclass
class Job:
    """One run's parts. `before` is the pre-trained state dict where a hook needs it."""

    cfg: DictConfig
    folder: Path
    accelerator: Accelerator
    backbone: Backbone
    method: Method
    data: Datasets
    task: Classification
    metrics: Metrics
    before: dict[str, Tensor]

    @classmethod
    def build(
        cls,
        cfg: DictConfig,
        method: Method,
        folder: Path,
        accelerator: Accelerator,
        sinks: tuple = (),
        start: Path | None = None,
    ) -> Job:
        """Everything else that `cfg` names; the backbone gets the weights at `start`, where there are any."""
        splits = build_data(cfg)
        backbone = build_backbone(cfg, splits.classes)
        before = {}
        if method.after_step or method.after_fit:
            before = {name: value.detach().clone() for name, value in backbone.module.state_dict().items()}
        if start is not None:
            backbone.module.load_state_dict(load_file(start))
        data = Datasets(splits, method.holdout, cfg.seed)
        metrics = Metrics(Path(folder) / "metrics.jsonl", sinks)
        return cls(cfg, folder, accelerator, backbone, method, data, Classification(splits.classes), metrics, before)

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints and tested weights lie."""
        return self.folder / "checkpoints"

    def context(self) -> Context:
        """What the method's hooks see; call it when the model is on its device."""
        module = self.backbone.module
        names = covered([name for name, _ in module.named_parameters()], self.backbone.unanchored)
        probe = Probe(self.accelerator, self.backbone, self.task, self.data.probe, self.cfg)
        return Context(module, self.before, frozenset(names), self.cfg.peft["anchor"], probe)
