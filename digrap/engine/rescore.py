"""Scores of a saved run or a bare backbone on any split: the work of evaluate.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from digrap.config.schema import CLASSIFICATION, task_of, typed
from digrap.config.targets import allowed
from digrap.core.errors import DigrapError, nearest
from digrap.core.files import write_json
from digrap.core.paths import OUTPUTS
from digrap.data.splits import DataModule
from digrap.engine import interruption
from digrap.engine.accelerator import open_accelerator
from digrap.engine.build import (
    build_backbone,
    build_data,
    build_task,
    check_packages,
    check_task,
    find_task_weights,
    keep_features,
)
from digrap.engine.checkpoint import write_tensors, write_weights
from digrap.engine.evaluate import Evaluator
from digrap.engine.kept_answers import Keeper
from digrap.engine.loaders import derive_seed, order_notes
from digrap.engine.other_data import build_other, classes_beside, classes_of, restricted
from digrap.engine.out_of_memory import advising
from digrap.engine.print_scores import scores_table
from digrap.engine.provenance import PeakMemory
from digrap.engine.ranks import rank
from digrap.engine.run_data import check_pictures_fit, check_takes_pictures, checked, shortened
from digrap.engine.trained_state import base_of, overlay, read_weights
from digrap.models.adapter_files import write_adapter
from digrap.models.backbone import Backbone
from digrap.models.lora import has_adapters
from digrap.models.qlora import quantized
from digrap.runs.checked_config import checked_config
from digrap.runs.export import ADAPTER
from digrap.runs.find import find_run
from digrap.runs.folder import PREDICTIONS, RunFolder
from digrap.runs.written import kept_answers

# Of configs/evaluate.yaml.
OWN_KEYS = ("run", "weights", "split", "out", "bundle", "allow", "edited", "outputs", "eval_batch_size", "decoding")
BESIDE = (*OWN_KEYS, "device", "trainer.devices")  # what goes with run=…, whose own config says the rest
DIGITS = 2  # of percentages as they are printed; out=FILE has them whole
OTHER = "other_data"  # the kind of a split that is in distribution for a run trained there alone
LONG = ("per_class", "confusions", "by_type")  # parts of a report that only out=FILE gets


@interruption.listening()
def rescore(cfg: DictConfig, other_data: bool = False) -> dict[str, Any]:
    """Score `cfg.run`, or the backbone that `cfg` composes with the file `cfg.weights`, on `cfg.split`.

    `other_data`: of the dataset in `cfg` in place of the run's own; a classifier is scored over the classes that these
    data have. Prints JSON without the long parts, writes all of it to `cfg.out`, with speed and memory of every split,
    and the predictions as a bundle into the folder `cfg.bundle`.
    """
    run, out, bundle = (_path(cfg, key) for key in ("run", "out", "bundle"))
    run = run and RunFolder(find_run(str(run), Path(cfg.get("outputs", OUTPUTS))))
    wanted, foreign = cfg.split, run is not None and other_data and not _own_data(run, cfg)
    own = {key: cfg[key] for key in ("eval_batch_size", "decoding") if cfg.get(key) is not None}
    cfg, weights, known = _of_run(cfg, run, other_data) if run else _of_file(cfg)
    if own:
        cfg = typed(OmegaConf.merge(cfg, {"trainer": own}))
    if run and rank() == 0:
        trained = run.results()
        print(f"{run.path}: {trained.method} on {trained.dataset}, seed {cfg.seed}", file=sys.stderr)
    check_task(cfg)
    check_takes_pictures(cfg)
    check_packages(cfg)
    with open_accelerator(cfg) as accelerator:
        bare = run is None and weights is None
        data = build_data(cfg) if known is None and not bare else build_other(cfg, known or ())
        find_task_weights(cfg)
        backbone = trained_backbone(cfg, data.classes if known is None else known, weights)
        if weights is None and not backbone.has_head:
            raise DigrapError(f"backbone={cfg.backbone.name} has no head of its own; give run=… of a trained one")
        keep_features(cfg, backbone, changing=())
        if known is not None and task_of(cfg) == CLASSIFICATION:
            backbone.module = restricted(backbone.module, data.classes, known)
        with advising("with the model alone", []):
            module = accelerator.prepare(backbone.module)
        task = build_task(cfg, backbone, data.classes, accelerator.device)
        keeper = bundle and Keeper(bundle, cfg, accelerator)
        evaluator = Evaluator(accelerator, backbone, task, cfg, PeakMemory(accelerator), keeper, "eval_batch_size")
        # The run's own bundle, made again, has its truth where the run's has it.
        labels = bundle.parent if bundle and run and bundle.resolve() == run.path.resolve() else bundle
        names = _chosen(data, wanted)
        with accelerator.main_process_first():
            data = checked(data, cfg, names)
        check_pictures_fit(backbone, cfg, data)
        data = shortened(data, cfg) if known is None else data
        chosen = [data.splits[name].kept for name in names]
        scores = evaluator.score(module, chosen, bundle and bundle / PREDICTIONS, labels, full=True)
        scores = {name: _elsewhere(score) for name, score in scores.items()} if foreign else scores
        caveats = [*data.caveats, *_fewer(data.classes, known or ())]
        other = {} if known is None else {"dataset": cfg.dataset.name}
        result = {"run": run and str(run.path), "backbone": cfg.backbone.name, **other, "seed": cfg.seed,
                  "eval_batch_size": cfg.trainer.eval_batch_size, **backbone.notes, **order_notes(chosen[0].load()),
                  **({"caveats": caveats} if caveats else {}), "scores": scores}  # fmt: skip
        if accelerator.is_main_process:
            for split in chosen if bundle else ():
                for file in kept_answers(bundle, split.name):
                    file.unlink()
            print(json.dumps({**result, "scores": {name: _short(score) for name, score in scores.items()}}, indent=2))
            Console(stderr=True).print(scores_table(scores, task.metric), highlight=False)
            if out:
                write_json(out, {**result, "tested": evaluator.tested})
    return result


Subject = tuple[DictConfig, Path | None, tuple[str, ...] | None]
"""What is scored: its config, the weights on top of the backbone's, and the classes it knows where the data may be of
others."""


def _of_run(cfg: DictConfig, run: RunFolder, other_data: bool) -> Subject:
    """A run by its own config, on the dataset of `cfg` where `other_data`."""
    if not isinstance(edited := cfg.get("edited", False), bool):
        raise DigrapError(f"edited={edited}: give true or false")
    if cfg.get("weights") is not None:
        raise DigrapError(f"weights={cfg.weights}: run={run.path} has weights of its own; leave one of the two out")
    weights, known = run.weights(), None
    own = checked_config(run, allowed(cfg.get("allow")), edited)
    devices = OmegaConf.select(cfg, "trainer.devices", default=1)
    here = {"device": cfg.device, "trainer": {"devices": devices, "sharding": "none"}}
    whole = typed(OmegaConf.merge(own, here))
    if other_data:
        known = classes_of(run, whole)
        if task_of(whole) != task_of(cfg):
            raise DigrapError(
                f"dataset={cfg.dataset.name} has the task {task_of(cfg)}, but {run.path} was trained for "
                f"{task_of(whole)}; choose another dataset"
            )
        whole.dataset = OmegaConf.to_container(cfg.dataset, resolve=True)
    return whole, weights, known


def _of_file(cfg: DictConfig) -> Subject:
    """The backbone of `cfg`, as it is or with a file of weights, whose classes an export has written beside it."""
    file = _path(cfg, "weights") if "weights" in cfg else None
    if file is not None and not file.is_file():
        raise DigrapError(f"weights={file}: there is no such file; give what export.py wrote, or run=…")
    cfg = typed(OmegaConf.masked_copy(cfg, [key for key in cfg if key not in OWN_KEYS]))
    return cfg, file, file and classes_beside(file.parent)


def _fewer(classes: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    """A caveat where not all classes of the model are in the data."""
    if len(known) <= len(classes):
        return []
    return [f"scored over the {len(classes)} classes of these data, of the {len(known)} that the model knows"]


def trained_backbone(cfg: DictConfig, classes: tuple[str, ...], weights: Path | None) -> Backbone:
    """The backbone of `cfg`, with the weights that a run saved on top of its own where `weights` is given."""
    set_seed(derive_seed(cfg.seed, "run") % 2**32)  # as in the run: what is random and frozen comes out the same
    backbone = build_backbone(cfg, classes)
    if weights is not None:
        overlay(backbone.module, read_weights(weights, base_of(backbone), backbone.module), weights)
    return backbone


def write_whole_model(cfg: DictConfig, classes: tuple[str, ...], weights: Path, file: Path) -> str:
    """Write every tensor of the trained model, what was trained and what it stands on, as safetensors; return the
    file's sha256. Over weights in 4 bits what was trained is written alone, as it stands on the published ones.
    Adapters are also written in peft's format, into a folder beside the file."""
    backbone = trained_backbone(cfg, classes, weights)
    module = backbone.module
    if has_adapters(module):
        write_adapter(module, file.parent / ADAPTER, backbone.provenance)
    if quantized(module):
        base = base_of(backbone)
        return write_weights(file, read_weights(weights, base, module), base)
    return write_tensors(file, module.state_dict())


def _path(cfg: DictConfig, key: str) -> Path | None:
    """The path that an option gives; None where it is null. Raises DigrapError for an empty one and for what is none:
    a folder of ten digits is a number to Hydra."""
    if (value := cfg[key]) is None:
        return None
    if not isinstance(value, str):
        raise DigrapError(f"{key}={value}: give one path as text, as in {key}=./<name>")
    if not value.strip():
        without = "a bare backbone is scored" if key == "run" else "nothing is written there"
        raise DigrapError(f"{key}= is empty; give a path, or leave {key} out: then {without}")
    return Path(value)


def _short(score: dict[str, Any]) -> dict[str, Any]:
    return {key: _rounded(value) for key, value in score.items() if key not in LONG}


def _rounded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def _own_data(run: RunFolder, cfg: DictConfig) -> bool:
    """Whether the dataset of `cfg` is the run's own: by its name, and by its folder where the user names that."""
    own = (run.plain_config() or {}).get("dataset") or {}
    given = cfg.dataset.get("root") if "near_ood" in cfg.dataset else None
    root = own.get("root")
    same = given is None or root is None or Path(given).expanduser().resolve() == Path(root).expanduser().resolve()
    return own.get("name") == cfg.dataset.name and same


def _elsewhere(score: dict[str, Any]) -> dict[str, Any]:
    """A split's scores, which is in no distribution of a run that was trained on other data."""
    return score | ({"kind": OTHER} if score["kind"].startswith("id_") else {})


def _chosen(data: DataModule, wanted: Any) -> list[str]:
    """The names of the splits that are wanted; all except the training split where none is named."""
    if wanted is None:
        return [name for name, split in data.splits.items() if split.kind != "id_train"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in data.splits:
            raise DigrapError(f"split={name}: there is no such split; {nearest(name, data.splits)}")
    return names
