"""Step time and memory of every optimizer beside torch's fused AdamW, measured in one process.

    python tools/bench_optim.py [model=all rounds=20 warmup=3 device=auto threads=0 dtype=float32 base=adamw out=FILE]
    python tools/bench_optim.py check=true       ViT-B/16 alone, against limits and kept ratios; also --check
    python tools/bench_optim.py keep=true        ViT-B/16 alone; writes the kept ratios, tools/bench_optim.json

Prints a Markdown table for each model: vit_b16, resnet50, lora_3b (PaliGemma's adapters), lora_7b (LLaVA's), or any of
timm's; model=all takes these four. out=FILE.json writes all numbers, out=FILE.md the tables. Every implementation of
every optimizer takes a step in turn, round by round, so that a busy machine slows all alike; a ratio is the median over
the rounds of (step time / time of torch's fused step in that round). docs/performance.md says what the columns mean.

check=true ends with exit code 1, and one line for each, where DiGraP takes more than 2.0 (compiled) or 3.0 (blocked)
times as long as fused AdamW, or a ratio is above the kept one times its margin, twice in a row.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

import torch
from omegaconf import DictConfig

from digrap.cli.arguments import bare_keys, check_flags
from digrap.cli.bench import check
from digrap.cli.bench.contenders import BASES, RULES
from digrap.cli.bench.output import COMMON, check_common, markdown, place, start, write
from digrap.cli.bench.race import Row, Setting, table
from digrap.cli.bench.shapes import MODELS, Shapes, shapes_of
from digrap.core.errors import DigrapError

DEFAULTS = {
    **COMMON, "rounds": 20, "warmup": 3, "dtype": "float32", "base": "adamw", "check": False, "keep": False,
}  # fmt: skip
DTYPES = ("float32", "float64", "bfloat16", "float16")
CHECKED = {"model": "vit_b16", "device": "cpu", "dtype": "float32", "base": "adamw"}
COLUMNS = {
    "optimizer": "optimizer", "implementation": "implementation", "ratio": "step time, × fused",
    "bytes": "bytes a parameter", "bandwidth": "bandwidth, × copy", "state": "state, × parameters",
    "extra": "extra, × parameters", "calls": "calls", "reads": "reads",
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = arguments(["check=true" if argument == "--check" else argument for argument in sys.argv[1:]])
    models = [(model, shapes_of(model)) for model in (MODELS if options.model == "all" else [options.model])]
    device, plain, texts = start(options), {}, []
    setting = Setting(options.base, device, getattr(torch, options.dtype), options.rounds, options.warmup)
    for model, shapes in models:
        rows = table(shapes, setting)
        title = headline(shapes, setting, rows)
        plain[model] = {"headline": title, "rows": [asdict(row) for row in rows]}
        texts.append(markdown(title, COLUMNS.values(), map(cells, rows), texts=2))
        print(texts[-1], flush=True)
    write(options.out, plain, texts)
    if options.keep:
        check.keep(rows, place(device))
        print(f"kept: {check.KEPT}")
    if options.check:
        verdict(shapes, setting, rows)


def arguments(given: list[str]) -> DictConfig:
    """The options. Raises DigrapError for one that is out of range, and for what does not go together."""
    options = bare_keys(given, DEFAULTS)
    check_flags(options, "check", "keep")
    check_common(options, dtype=DTYPES, base=tuple(BASES))
    if options.check and options.keep:
        raise DigrapError("check=true and keep=true: give only one; a check against ratios just measured finds nothing")
    if options.check or options.keep:
        flag = "check" if options.check else "keep"
        for key, value in CHECKED.items():
            if options[key] not in (DEFAULTS[key], value):
                raise DigrapError(f"{flag}=true measures with {key}={value}; leave {key}={options[key]} out")
        options.update(CHECKED)
    if options.check:
        check.kept()  # a damaged file is named before minutes of measuring
    return options


def cells(row: Row) -> list[object]:
    """The row's cells; one that was not measured says so in the place of its ratio."""
    values = {key: getattr(row, key) for key in COLUMNS}
    return list((values if row.ratio is not None else values | {"ratio": row.note}).values())


def headline(shapes: Shapes, setting: Setting, rows: list[Row]) -> str:
    """What was measured, where, and the absolute figures."""
    reference, copy = rows[0], next(row for row in rows if row.optimizer == "memory copy")
    bandwidth = 2 * shapes.count * setting.dtype.itemsize / copy.milliseconds / 1e6
    kind = str(setting.dtype).removeprefix("torch.") + (", anchor zero" if shapes.anchor == "zero" else "")
    return (
        f"{shapes.title}: {shapes.count:,} parameters in {len(shapes.tensors)} tensors, {kind}; "
        f"{place(setting.device)}; {reference.optimizer}, fused: {reference.milliseconds:.2f} ms a step; memory copy: "
        f"{bandwidth:.1f} GB/s; medians of {setting.rounds} rounds."
    )


def verdict(shapes: Shapes, setting: Setting, rows: list[Row]) -> None:
    """Exit with code 1 and a line on stderr for each limit that is missed in two measurements."""
    before = check.kept()
    missed = check.misses(rows, before)
    if missed:
        print(f"measured again: {', '.join(missed)}", file=sys.stderr)
        again = check.misses(table(shapes, setting, [name for name in RULES if name in missed]), before)
        missed = {name: again[name] for name in missed if name in again}
    for sentences in missed.values():
        print(*sentences, sep="\n", file=sys.stderr)
    if missed:
        raise SystemExit(1)
    print(f"check: no limit is missed; ratios are kept for {len(before['ratios'])} implementations")
