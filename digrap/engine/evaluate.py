"""Scores of a model on splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import Dataset

from digrap.core.progress import track
from digrap.data.splits import Split
from digrap.engine.loaders import eval_batches
from digrap.models.backbone import Backbone
from digrap.runs.predictions import write_bundle


@torch.no_grad()
def predict_split(
    accelerator: Accelerator,
    module: torch.nn.Module,
    backbone: Backbone,
    task: Any,
    data: Dataset,
    name: str,
    cfg: DictConfig,
) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions by name and labels for all examples of a dataset, on the CPU, in its order."""
    rank, world = accelerator.process_index, accelerator.num_processes
    loader = eval_batches(
        data, backbone.eval_transform, batch=cfg.trainer.eval_batch_size, rank=rank, world=world,
        workers=cfg.trainer.workers, pin=accelerator.device.type == "cuda",
    )  # fmt: skip
    # Through the wrapper of several processes a forward pass would wait for those that have no batch.
    module = accelerator.unwrap_model(module).eval()
    if world > 1:  # batch norm's statistics of the first process, as in the weights that are kept
        for buffer in module.buffers():
            buffer.copy_(broadcast(buffer))
    parts = []
    for inputs, labels in track(loader, name, total=len(loader)):
        inputs = backbone.batch_transform(inputs.to(accelerator.device, non_blocking=True))
        with accelerator.autocast():
            output = task.predict(module, inputs)
        parts.append(({key: value.cpu() for key, value in output.items()}, labels))
    if world > 1:  # batch k went to process k mod world
        shares = gather_object([parts])
        parts = [shares[k % world][k // world] for k in range(sum(map(len, shares)))]
    predictions = {key: torch.cat([output[key] for output, _ in parts]) for key in parts[0][0]}
    return predictions, torch.cat([labels for _, labels in parts])


def score_splits(
    accelerator: Accelerator,
    module: torch.nn.Module,
    backbone: Backbone,
    task: Any,
    splits: list[Split],
    cfg: DictConfig,
    bundle: Path | None = None,
    labels_folder: Path | None = None,
    full: bool = False,
) -> dict[str, dict[str, Any]]:
    """{split: {kind, n, metric …}}, with the task's whole report where `full`; the predictions and labels of all splits
    go to `bundle`, where one is given, labels into `labels_folder`/labels (default: beside the bundle's folder)."""
    scores, predicted, truth = {}, {}, {}
    for split in splits:
        predictions, labels = predict_split(
            accelerator, module, backbone, task, split.load(), f"test {split.name}", cfg
        )
        said = task.report(predictions, labels) if full else task.score(predictions, labels)
        scores[split.name] = {"kind": split.kind, "n": len(labels), **said}
        predicted[split.name] = {key: predictions[key].numpy() for key in task.bundled}
        truth[split.name] = {"label": labels.numpy()}
    if bundle is not None and accelerator.is_main_process:
        write_bundle(bundle, predicted, truth, labels_folder)
    return scores
