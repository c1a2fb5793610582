"""A finished run as a folder to publish: weights, config, scores, card. Reads files only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.core.paths import REPO

WEIGHTS = "model.safetensors"
NOT_SHOWN = ("name", "trains", "start", "holdout", "optimizer", "after_step", "after_fit")  # of optim: no symbols

CARD = """\
---
library_name: digrap
tags: [robust-fine-tuning, {method}, {dataset}]
---

# {backbone} fine-tuned on {dataset} by {method}, seed {seed}

| | |
|---|---|
{facts}

## Scores

{selection}

| split | kind | n | {metric} % |
|---|---|---:|---:|
{scores}

## Use

With `digrap` of the commit above installed, in this folder:

```python
{snippet}
```

`python evaluate.py run=<this folder>`, in a clone of digrap, computes the scores again.

## Licence

{licence}
"""

SNIPPET = """\
import json
from pathlib import Path

import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.v2.functional import pil_to_tensor

from digrap.config.compose import register_resolvers
from digrap.config.schema import typed
from digrap.engine.build import build_backbone

register_resolvers()
cfg = typed(OmegaConf.load("config.yaml"))
{untrained}classes = tuple(json.loads(Path("classes.json").read_text()))
backbone = build_backbone(cfg, classes)
backbone.module.load_state_dict(load_file("model.safetensors"))
backbone.module.eval()

image = Image.new("RGB", ({size}, {size}))  # yours: Image.open("picture.png").convert("RGB")
prepare = backbone.eval_transform or pil_to_tensor  # to uint8 (3, H, W)
with torch.no_grad():
    logits = backbone.module(backbone.batch_transform(prepare(image)[None]))
print(classes[logits.argmax().item()])"""

LICENCE = (
    "digrap's code is under the MIT licence. The weights derive from those of {backbone} and from the data of "
    "{dataset}: their licences hold for this file as well."
)


def read_run(folder: Path) -> tuple[dict[str, Any], DictConfig]:
    """(results, config) of a finished run that has weights. Raises DigrapError for any other folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DigrapError(f"{folder}: there is no such folder; give a run, as in outputs/minidomainnet/<hash>")
    if not (folder / "results.json").exists():
        raise DigrapError(f"{folder}: no results.json there; finish the run first with the same train.py command")
    try:
        result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        cfg = OmegaConf.load(folder / "config.yaml")
        weights, start = result["weights"], result.get("start")
    except (OSError, ValueError, KeyError, TypeError, YAMLError, OmegaConfBaseException) as error:
        raise DigrapError(f"{folder}: its results or config are damaged ({error!r}); make the run again") from error
    if weights is None:
        instead = f"; export the run it was tested with, {folder.parent / start['hash']}" if start else ""
        what = "the earlier run's" if start else f"the pre-trained {cfg.backbone.name}'s"
        raise DigrapError(f"{folder}: optim={cfg.optim.name} trained nothing, its weights are {what}{instead}")
    if not (folder / weights).is_file():
        raise DigrapError(f"{folder / weights} is missing; delete {folder} and train the run again")
    return result, cfg


def export(folder: Path, out: Path, classes: Sequence[str]) -> list[str]:
    """Write `out`, whole or not at all. Returns paths of this machine (key=value) that its config.yaml still names.

    Raises DigrapError where `out` has something in it, and for what `read_run` refuses.
    """
    folder, out = Path(folder), Path(out)
    result, cfg = read_run(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DigrapError(f"out={out}: there is something already; give another folder, or remove it")
    config = portable(cfg)
    with _whole(out) as temporary:
        shutil.copyfile(folder / result["weights"], temporary / WEIGHTS)
        write_text(temporary / "config.yaml", OmegaConf.to_yaml(config))
        write_json(temporary / "results.json", {**result, "weights": WEIGHTS})  # evaluate.py run=<out> finds them
        write_json(temporary / "classes.json", list(classes))
        write_text(temporary / "README.md", card(result, config))
    return [f"{key}={value}" for key, value in _strings(config) if value.startswith(("/", "~"))]


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes it at the end, or is removed."""
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, out)  # an empty folder may stand there
    except OSError as error:
        raise DigrapError(f"out={out} could not be written ({error})") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def portable(cfg: DictConfig) -> DictConfig:
    """The run's config without this machine: the same hash, folders relative to the data root and the repository."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    root = plain["data_root"]
    places = ((root, "${data_root}"), (str(REPO), "${digrap.repo:}"))
    plain = _mapped(plain, places) | {"data_root": "data", "device": "auto", "logger": {"name": "none"}}
    return OmegaConf.create(plain)


def _mapped(value: Any, places: tuple[tuple[str, str], ...]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, places) for item in value]
    if isinstance(value, str):
        for folder, name in places:
            folder = folder.rstrip("/")
            if value == folder or value.startswith(folder + "/"):
                return name + value[len(folder) :]
    return value


def _strings(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    def walk(value: Any, key: str) -> Iterator[tuple[str, str]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, item in items:
            yield from walk(item, f"{key}.{name}" if key else str(name))
        if isinstance(value, str):
            yield key, value

    yield from walk(OmegaConf.to_container(cfg, resolve=False), "")


def card(result: dict[str, Any], cfg: DictConfig) -> str:
    """README.md: what was trained how, on what, with which scores, and how to load it."""
    metric, chosen = result["metric"], result["selection"]
    epoch = "" if chosen["epoch"] is None else f" of epoch {chosen['epoch']}"
    names = {"method": cfg.optim.name, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name}
    scores = [
        f"| {name} | {score['kind']} | {score['n']} | {score[metric]:.2f} |" for name, score in result["scores"].items()
    ]
    return CARD.format(
        **names,
        seed=result["seed"],
        facts="\n".join(f"| {key} | {value} |" for key, value in _facts(result, cfg).items()),
        selection=f"The weights{epoch}, chosen by {metric} on {chosen['split']} ({chosen['score']:.2f} %).",
        metric=metric,
        scores="\n".join([*scores, *(f"\nBeware: {caveat}." for caveat in result.get("caveats", ()))]),
        snippet=snippet(cfg),
        licence=LICENCE.format(**names),
    )


def _facts(result: dict[str, Any], cfg: DictConfig) -> dict[str, str]:
    optim = OmegaConf.to_container(cfg.optim, resolve=False)
    base, start = OmegaConf.to_container(cfg.trainer.base), result.get("start")
    facts = {
        "method": _with(cfg.optim.name, {key: value for key, value in optim.items() if key not in NOT_SHOWN}),
        "goes on from": start and f"{start['method']}, run {start['hash']}",
        "optimizer": _with(base["name"], {key: base[key] for key in base if key != "name"}),
        "training": f"{cfg.trainer.epochs} epochs, batches of {cfg.trainer.batch_size}, "
        f"precision {cfg.trainer.precision}, schedule {cfg.schedule._target_.rpartition('.')[2]}",
        "backbone": _with(cfg.backbone.name, _scalars(cfg.backbone)),
        "dataset": _with(cfg.dataset.name, _scalars(cfg.dataset)),
        "seed": str(result["seed"]),
        "run": result["hash"],
        "commit": result["commit"] + (" with local changes" if result["dirty"] else ""),
        "device": result["device"],
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items())),
    }
    return {key: value for key, value in facts.items() if value}


def _scalars(node: DictConfig) -> dict[str, Any]:
    """Options that are one value, without folders and what is said elsewhere."""
    plain = OmegaConf.to_container(node, resolve=False)
    skipped = ("name", "_target_", "root", "weights", "seed", "metric")
    return {key: value for key, value in plain.items() if key not in skipped and isinstance(value, (str, int, float))}


def _with(name: str, options: dict[str, Any]) -> str:
    return ", ".join([name, *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())])


def snippet(cfg: DictConfig) -> str:
    """Python that builds the model and loads the weights, from within the exported folder."""
    # The file has every weight: those it was fine-tuned from need not be there.
    skip = cfg.backbone.get("pretrained") is True
    untrained = "cfg.backbone.pretrained = False  # the file below has all weights\n" if skip else ""
    return SNIPPET.format(untrained=untrained, size=cfg.dataset.get("image_size") or 256)
