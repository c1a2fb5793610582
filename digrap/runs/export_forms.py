"""A finished run for others' libraries: its adapters for peft, or the whole model for transformers, with a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from digrap.core.files import write_text
from digrap.core.paths import REPO
from digrap.runs.export import adapted, card, check_free, portable, read_trained, whole

FORMS = ("run", "adapter", "merged")  # run: digrap's own

OF_ADAPTERS = """\
The adapters alone, in peft's format; they belong on the pre-trained model, {base}. In this folder:

```python
{imports}from peft import PeftModel

base = {make}
model = PeftModel.from_pretrained(base, ".").eval()
```"""

OF_MERGED = """\
The whole model in transformers' format. {merged}In this folder:

```python
from transformers import AutoModelForImageTextToText{further}

model = AutoModelForImageTextToText.from_pretrained(".").eval()
{processor}```

It was tested with the prompt `{prompt}`."""

MERGED = "Adapters were merged in float32, then rounded to the weights' own type. "
IN_4_BITS = "The weights below them are those in 4 bits that it was trained on. "


def export_form(
    folder: Path,
    out: Path,
    form: str,
    write: Callable[[Path], None],
    allow: Sequence[str] = (),
    edited: bool = False,
) -> list[str]:
    """Write `out`, whole or not at all: what `write` puts into the folder that it is given, and a card. Returns paths
    of this machine (key=value) that the card names.

    `form` is one of `FORMS` but run; `allow` and `edited` as in `checked_config`. Raises DigrapError where `out` is not
    an empty folder, and for what `read_trained` and `write` refuse.
    """
    results, cfg = read_trained(folder, allow, edited)
    check_free(out)
    with whole(out) as temporary:
        write(temporary)
        use = of_adapters(cfg) if form == "adapter" else _of_merged(cfg)
        library = "peft" if form == "adapter" else "transformers"
        write_text(temporary / "README.md", card(results, portable(cfg), use=use, library=library))
    model = str(cfg.backbone.get("model") or "")
    return [f"backbone.model={model}"] if model.startswith(("/", "~")) else []


DESCRIPTIVE = ("name", "tasks")  # keys of a backbone's config that are not its builder's
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def of_adapters(cfg: DictConfig) -> str:
    """How to put a run's adapters on their base model, as Markdown with code."""
    backbone = OmegaConf.to_container(cfg.backbone, resolve=True)
    if model := backbone.get("model"):
        builder, room = "AutoModelForImageTextToText", "transformers"
        revision = f", revision={backbone['revision']!r}" if backbone.get("revision") else ""
        make = f"{builder}.from_pretrained({model!r}{revision}, dtype={DTYPES[backbone['dtype']]!r})"
    else:
        room, _, builder = backbone.pop("_target_").rpartition(".")
        if str(backbone.get("weights")).startswith(f"{REPO}/"):
            del backbone["weights"]  # the builder's own default
        elif "folder" in backbone:
            backbone["folder"] = "weights"
        options = {key: value for key, value in backbone.items() if key not in DESCRIPTIVE and value is not None}
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        model, make = f"digrap's {backbone['name']}", f"{builder}({given}).module"
    return OF_ADAPTERS.format(base=model, imports=f"from {room} import {builder}\n", make=make)


def _of_merged(cfg: DictConfig) -> str:
    has = bool(cfg.backbone.get("model"))
    return OF_MERGED.format(
        merged=(MERGED if adapted(cfg) else "") + (IN_4_BITS if cfg.peft.name == "qlora" else ""),
        further=", AutoProcessor" if has else "",
        processor='processor = AutoProcessor.from_pretrained(".")\n' if has else "",
        prompt=cfg.backbone.get("prompt"),
    )
