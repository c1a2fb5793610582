"""The objects of a run, built once and handed to fitting, what follows it, and testing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import Dataset

from digrap.data.splits import DataModule, Split
from digrap.engine.build import build_backbone, build_task, find_task_weights, keep_features, method_errors
from digrap.engine.evaluate import Evaluator
from digrap.engine.half_precision import check_half_precision
from digrap.engine.held_out import HeldOutBatches, hold_out
from digrap.engine.kept_answers import Keeper
from digrap.engine.preflight import data_of, find_start_adapters
from digrap.engine.provenance import PeakMemory
from digrap.engine.run_data import check_own_data, check_pictures_fit, checked, shortened
from digrap.engine.trained_state import TrainedState, base_of, overlay, read_weights
from digrap.methods.method import Context, Method
from digrap.methods.trained import choose_trained
from digrap.models.backbone import Backbone
from digrap.optim.groups import covered
from digrap.runs.folder import RunFolder
from digrap.runs.metrics_log import MetricsLog
from digrap.tasks.task import Task


@dataclass
class Datasets:
    """Data that fitting sees, loaded when first used. `fraction` is the part of the training split kept back."""

    source: DataModule
    fraction: float
    seed: int

    def of_kind(self, kind: str) -> Split:
        """The one split of a kind."""
        (split,) = self.source.of_kind(kind)
        return split

    @cached_property
    def _whole(self) -> Dataset:
        return self.of_kind("id_train").load()

    @cached_property
    def _shares(self) -> tuple[Dataset, Dataset | None]:
        return hold_out(self._whole, self.fraction, self.seed) if self.fraction else (self._whole, None)

    @property
    def dropped(self) -> dict[str, int]:
        """How many training examples the dataset leaves out because nothing can be learnt from them, by reason."""
        return getattr(self._whole, "dropped", {})

    @property
    def train(self) -> Dataset:
        """The training split, without what is held out."""
        return self._shares[0]

    @cached_property
    def validation(self) -> Dataset:
        """The ID validation split."""
        return self.of_kind("id_val").load()

    @property
    def held_out(self) -> Dataset:
        """The data that hooks learn from: the held-out part, else ID validation."""
        return self._shares[1] if self.fraction else self.validation

    @cached_property
    def tested(self) -> list[Split]:
        """Every split except the training split, each loaded once."""
        return self.source.tested


@dataclass
class Job:
    """One run's parts.

    `base` names the pre-trained weights, `before` (on the CPU) are the pre-trained values of everything that the run
    may change, `state` says what of the model is saved, `still_mine` raises Busy where the folder has been taken over.
    """

    cfg: DictConfig
    run: RunFolder
    accelerator: Accelerator
    memory: PeakMemory
    backbone: Backbone
    method: Method
    data: Datasets
    task: Task
    metrics: MetricsLog
    base: dict[str, str]
    before: dict[str, Tensor]
    state: TrainedState
    still_mine: Callable[[], None]

    @classmethod
    def build(
        cls,
        cfg: DictConfig,
        method: Method,
        run: RunFolder,
        accelerator: Accelerator,
        memory: PeakMemory,
        sinks: tuple = (),
        start: Path | None = None,
        still_mine: Callable[[], None] = lambda: None,
    ) -> Job:
        """Everything else that `cfg` names; the backbone gets the weights in the file `start`, where one is given."""
        splits = data_of(cfg)
        find_task_weights(cfg)
        find_start_adapters(cfg)
        if method.trains:
            splits = check_own_data(splits, cfg, method.holdout)
        backbone = build_backbone(cfg, splits.classes)
        task = build_task(cfg, backbone, splits.classes, accelerator.device)
        base = base_of(backbone)
        initial = {} if start is None else read_weights(start, base, backbone.module, anchored=True)
        if method.trains:
            with method_errors(method.name):
                choose_trained(backbone.module, method.trains, backbone.head)
            check_half_precision(backbone.module, cfg)
        state = TrainedState(backbone.module, initial)
        before = {}
        if accelerator.is_main_process or method.after_step or method.after_fit:  # the first process logs distances
            before = _pretrained(backbone, method, initial)
        if start is not None:
            overlay(backbone.module, initial, start)
        keep_features(cfg, backbone, changing=state.names() if method.trains or method.after_fit else ())
        names = [name for name, split in splits.splits.items() if method.trains or split.kind != "id_train"]
        with accelerator.main_process_first():  # the others read what it has found
            splits = checked(splits, cfg, names)
        check_pictures_fit(backbone, cfg, splits)
        data = Datasets(shortened(splits, cfg), method.holdout, cfg.seed)
        metrics = MetricsLog(run.metrics_file, sinks)
        return cls(
            cfg, run, accelerator, memory, backbone, method, data, task, metrics, base, before, state, still_mine
        )

    @cached_property
    def evaluator(self) -> Evaluator:
        """Predicts and scores with this run's model."""
        keeper = Keeper(self.run.path, self.cfg, self.accelerator)
        return Evaluator(self.accelerator, self.backbone, self.task, self.cfg, self.memory, keeper)

    @cached_property
    def unanchored(self) -> frozenset[str]:
        """Names of the parameters that were not pre-trained."""
        names = [name for name, _ in self.backbone.module.named_parameters()]
        return frozenset(covered(names, self.backbone.unanchored))

    def context(self) -> Context:
        """The view that the method's hooks get of the run; call it when the model is on its device."""
        held_out = HeldOutBatches(self.accelerator, self.backbone, self.task, self.data.held_out, self.cfg)
        return Context(self.backbone.module, self.before, self.unanchored, self.cfg.peft["anchor"], held_out)


def _pretrained(backbone: Backbone, method: Method, initial: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU of what the run may change: what trains, what it is initialised with, and all buffers."""
    module, state = backbone.module, backbone.module.state_dict()
    names = set(initial) | {name for name, _ in module.named_buffers()}
    if method.trains:
        names |= {name for name, param in module.named_parameters() if param.requires_grad}
    return {name: value.detach().cpu().clone() for name, value in state.items() if name in names}
