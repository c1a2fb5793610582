"""What evaluate.py does: a saved run or a bare backbone on any split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from digrap.config.schema import typed
from digrap.core.errors import DigrapError, nearest
from digrap.core.files import write_json
from digrap.data.splits import DataModule, Split
from digrap.engine.build import build_backbone, build_data, check_task
from digrap.engine.evaluate import score_splits
from digrap.engine.run import open_accelerator, weights_of
from digrap.runs.predictions import PREDICTIONS
from digrap.tasks.classification import Classification


def rescore(cfg: DictConfig) -> dict[str, Any]:
    """Score `cfg.run` (or the backbone that `cfg` composes) on `cfg.split`.

    Prints JSON without the long parts (classes, confusions), writes all of it to `cfg.out`, and the predictions as a
    bundle into the folder `cfg.bundle`.
    """
    wanted, out, folder = cfg.split, cfg.out, cfg.run and Path(cfg.run)
    bundle = cfg.bundle and Path(cfg.bundle)
    weights = weights_of(folder) if folder else None
    if folder:
        saved = OmegaConf.load(folder / "config.yaml")
        cfg = OmegaConf.merge(saved, {"device": cfg.device})
    cfg = typed(OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("run", "split", "out", "bundle")]))
    check_task(cfg)
    with open_accelerator(cfg) as accelerator:
        data = build_data(cfg)
        backbone = build_backbone(cfg, data.classes)
        if weights:
            backbone.module.load_state_dict(load_file(weights))
        elif not backbone.has_head:
            raise DigrapError(f"backbone={cfg.backbone.name} has no head of its own; give run=… of a trained one")
        module, task = accelerator.prepare(backbone.module), Classification(data.classes)
        scores = score_splits(
            accelerator, module, backbone, task, _chosen(data, wanted), cfg,
            bundle and bundle / PREDICTIONS, bundle, full=True,
        )  # fmt: skip
        result = {"run": folder and str(folder), "backbone": cfg.backbone.name, "seed": cfg.seed,
                  **({"caveats": list(data.caveats)} if data.caveats else {}), "scores": scores}  # fmt: skip
        if accelerator.is_main_process:
            print(json.dumps({**result, "scores": {name: _short(score) for name, score in scores.items()}}, indent=2))
            if out:
                write_json(Path(out), result)
    return result


def _short(score: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in score.items() if key not in ("per_class", "confusions")}


def _chosen(data: DataModule, wanted: Any) -> list[Split]:
    """The named splits; all but the training split where none is named."""
    if wanted is None:
        return [split for split in data.splits.values() if split.kind != "id_train"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in data.splits:
            raise DigrapError(f"split={name}: there is no such split; {nearest(name, data.splits)}")
    return [data.splits[name] for name in names]
