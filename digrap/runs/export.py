"""A finished run as a folder to publish: weights, config, scores, card; of adapters also those alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from digrap.config.schema import CLASSIFICATION, task_of
from digrap.config.targets import DEFAULT_ROOT, leaves
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.core.paths import places
from digrap.runs.checked_config import checked_config
from digrap.runs.folder import RunFolder
from digrap.runs.results import Results

WEIGHTS = "model.safetensors"
NOT_SHOWN = ("name", "trains", "start", "holdout", "optimizer", "after_step", "after_fit")  # of optim: no symbols

CARD = """\
---
library_name: {library}
tags: [robust-fine-tuning, {method}, {dataset}]
---

# {backbone} fine-tuned on {dataset} by {method}, seed {seed}

| | |
|---|---|
{facts}

## Scores

{selection}

| split | kind | n | {metrics} |
|---|---|---:|{rule}
{scores}

## Use

{use}

## Licence

{licence}
"""

USE = """\
With `digrap` of the commit above installed, in this folder:

```python
{snippet}
```

`python evaluate.py run=<this folder>{options}`, in a clone of digrap, computes the scores again.{adapter}"""

SNIPPET = """\
import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
{imports}
from digrap.config.schema import typed
from digrap.engine.build import build_backbone
from digrap.engine.trained_state import overlay
from digrap.runs.checked_config import checked_config
from digrap.runs.folder import RunFolder

cfg = typed(checked_config(RunFolder(Path()){trust}))
{untrained}classes = tuple(json.loads(Path("classes.json").read_text()))
backbone = build_backbone(cfg, classes)
overlay(backbone.module, load_file("model.safetensors"), "model.safetensors")
backbone.module.eval()

image = Image.new("RGB", ({size}, {size}))  # yours: Image.open("picture.png").convert("RGB")
{use}"""

TO_CLASSIFY = """\
prepare = backbone.eval_transform or pil_to_tensor  # to uint8 (3, H, W)
with torch.no_grad():
    logits = backbone.module(backbone.batch_transform(prepare(image)[None]))
print(classes[logits.argmax().item()])"""

TO_ANSWER = """\
question = "what is in the image?"
with torch.no_grad():
    answers = backbone.answering.generate(backbone.module, backbone.answering.encode([image], [question]))
print(answers[0])"""

ADAPTER = "adapter"  # the folder of peft's files, beside the weights
ADAPTER_NOTE = """

`adapter/` has the adapters alone, in peft's own format: `peft.PeftModel.from_pretrained(model, "adapter")` puts them on
the pre-trained model. It has nothing of a head that trained beside them."""

LICENCE = (
    "digrap's code is under the MIT licence. The weights derive from those of {backbone} and from the data of "
    "{dataset}: their licences hold for this file as well."
)


def read_trained(path: Path, allow: Sequence[str] = (), edited: bool = False) -> tuple[Results, DictConfig]:
    """(results, config) of a finished run that has weights; `allow` and `edited` as in `checked_config`. Raises
    DigrapError for any other folder."""
    folder = RunFolder(path)
    results, cfg = folder.results(), checked_config(folder, allow, edited)
    if results.weights is None:
        start = results.start
        instead = f"; export the run it was tested with, {folder.path.parent / start['hash']}" if start else ""
        whose = "the earlier run's" if start else f"the pre-trained {results.backbone}'s"
        raise DigrapError(f"{path}: optim={results.method} trained nothing, its weights are {whose}{instead}")
    folder.weights()  # raises where the file is missing
    return results, cfg


def export(
    folder: Path,
    out: Path,
    classes: Sequence[str],
    write_weights: Callable[[Path], str],
    allow: Sequence[str] = (),
    edited: bool = False,
) -> list[str]:
    """Write `out`, whole or not at all. Returns paths of this machine (key=value) that its config.yaml still names.

    `write_weights` writes the whole model, what trained and what was frozen, to the file that it is given, and returns
    its sha256; `allow` and `edited` as in `checked_config`: the card names them too. Raises DigrapError where `out` is
    not an empty folder, and for what `read_trained` refuses.
    """
    folder, out = Path(folder), Path(out)
    results, cfg = read_trained(folder, allow, edited)
    check_free(out)
    config = portable(cfg)
    with whole(out) as temporary:
        digest = write_weights(temporary / WEIGHTS)
        exported = RunFolder(temporary)
        exported.write_config(config)
        named = {"weights": WEIGHTS, "weights_sha256": digest}  # evaluate.py run=<out> finds and checks them
        exported.write_results({**results.plain, **named})
        write_json(temporary / "classes.json", list(classes))
        write_text(temporary / "README.md", card(results, config, allow, edited))
    return [f"{key}={value}" for key, value in _strings(config) if value.startswith(("/", "~"))]


def check_free(out: Path) -> None:
    """Raise DigrapError unless `out` is an empty folder or nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DigrapError(f"out={out}: it already exists; give another folder, or remove it")


@contextlib.contextmanager
def whole(out: Path) -> Iterator[Path]:
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
    plain = _mapped(plain, places(plain["data_root"], "${data_root}", "${digrap.repo:}"))
    plain |= {"data_root": DEFAULT_ROOT, "device": "auto", "logger": {"name": "none"}}
    return OmegaConf.create(plain)


def _mapped(value: Any, names: list[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, names) for item in value]
    if isinstance(value, str):
        for folder, name in names:
            if value == folder or value.startswith(folder + "/"):
                return name + value[len(folder) :]
    return value


def _strings(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    return ((key, value) for key, value in leaves(plain) if isinstance(value, str))


def card(
    results: Results,
    cfg: DictConfig,
    allow: Sequence[str] = (),
    edited: bool = False,
    use: str | None = None,
    library: str = "digrap",
) -> str:
    """README.md: what was trained how, on what, with which scores, and how to load it: by digrap, or as `use` says, by
    another `library`."""
    chosen, metrics = results.selection, results.metrics(next(iter(results.scores)))
    epoch = "" if chosen["epoch"] is None else f" of epoch {chosen['epoch']}"
    names = {"method": cfg.optim.name, "dataset": cfg.dataset.name, "backbone": cfg.backbone.name}
    scores = []
    for name, score in results.scores.items():
        numbers = " | ".join(f"{results.score(name, metric):.2f}" for metric in metrics)
        scores.append(f"| {name} | {score['kind']} | {score['n']} | {numbers} |")
    return CARD.format(
        **names,
        seed=results.seed,
        facts="\n".join(f"| {key} | {value} |" for key, value in _facts(results, cfg).items()),
        selection=f"The weights{epoch}, chosen by {results.metric} on {chosen['split']} ({chosen['score']:.2f} %).",
        metrics=" | ".join(f"{metric} %" for metric in metrics),
        rule="---:|" * len(metrics),
        scores="\n".join([*scores, *(f"\nCaveat: {caveat}." for caveat in results.caveats)]),
        library=library,
        use=_use(cfg, allow, edited) if use is None else use,
        licence=LICENCE.format(**names),
    )


def _use(cfg: DictConfig, allow: Sequence[str], edited: bool) -> str:
    options = (f" allow=[{','.join(allow)}]" if allow else "") + (" edited=true" if edited else "")
    adapter = ADAPTER_NOTE if adapted(cfg) else ""
    return USE.format(snippet=snippet(cfg, allow, edited), options=options, adapter=adapter)


def adapted(cfg: DictConfig) -> bool:
    """Whether the run's model has adapters."""
    return bool(OmegaConf.select(cfg, "peft._target_"))


def _facts(results: Results, cfg: DictConfig) -> dict[str, str]:
    optim = OmegaConf.to_container(cfg.optim, resolve=False)
    base, start = OmegaConf.to_container(cfg.trainer.base), results.start
    facts = {
        "method": _with(cfg.optim.name, {key: value for key, value in optim.items() if key not in NOT_SHOWN}),
        "initialised from": start and f"{start['method']}, run {start['hash']}",
        "optimizer": _with(base["name"], {key: base[key] for key in base if key != "name"}),
        "training": f"{cfg.trainer.epochs} epochs, batches of {cfg.trainer.batch_size}, "
        f"precision {cfg.trainer.precision}, schedule {cfg.schedule._target_.rpartition('.')[2]}",
        "backbone": _with(cfg.backbone.name, _scalars(cfg.backbone)),
        "adapters": _with(cfg.peft.name, _scalars(cfg.peft)) if adapted(cfg) else "",
        "dataset": _with(cfg.dataset.name, _scalars(cfg.dataset)),
        "seed": str(results.seed),
        "run": results.hash,
        "commit": results.commit + (" with local changes" if results.dirty else ""),
        "device": results.device,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items())),
    }
    return {key: value for key, value in facts.items() if value}


def _scalars(node: DictConfig) -> dict[str, Any]:
    """Options that are one value, except folders and what the card has elsewhere."""
    plain = OmegaConf.to_container(node, resolve=False)
    skipped = ("name", "_target_", "root", "weights", "seed", "select_by")
    return {key: value for key, value in plain.items() if key not in skipped and isinstance(value, (str, int, float))}


def _with(name: str, options: dict[str, Any]) -> str:
    return ", ".join([name, *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())])


def snippet(cfg: DictConfig, allow: Sequence[str] = (), edited: bool = False) -> str:
    """Python that builds the model and loads the weights, from within the exported folder."""
    # The file has every weight, but for those in 4 bits: those it was fine-tuned from need not be there.
    skip = cfg.backbone.get("pretrained") is True and OmegaConf.select(cfg, "peft.name") != "qlora"
    untrained = "cfg.backbone.pretrained = False  # the file below has all weights\n" if skip else ""
    trust = (f", allow={list(allow)}" if allow else "") + (", edited=True" if edited else "")
    answers = task_of(cfg) != CLASSIFICATION
    imports = "" if answers else "from torchvision.transforms.v2.functional import pil_to_tensor\n"
    use, size = TO_ANSWER if answers else TO_CLASSIFY, cfg.dataset.get("image_size") or 256
    return SNIPPET.format(imports=imports, trust=trust, untrained=untrained, size=size, use=use)
