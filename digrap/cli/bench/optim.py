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

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from omegaconf import DictConfig

from digrap.cli.arguments import bare_keys, check_flags, check_whole
from digrap.cli.bench import check
from digrap.cli.bench.contenders import BASES, RULES
from digrap.cli.bench.race import Row, Setting, table
from digrap.cli.bench.shapes import MODELS, Shapes, shapes_of
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text

DEFAULTS = {
    "model": "all", "device": "auto", "rounds": 20, "warmup": 3, "threads": 0, "dtype": "float32", "base": "adamw",
    "out": "", "check": False, "keep": False,
}  # fmt: skip
DTYPES = ("float32", "float64", "bfloat16", "float16")
CHECKED = "vit_b16"
COLUMNS = ("optimizer", "implementation", "step time, × fused", "bytes a parameter", "bandwidth, × copy",
           "state, × parameters", "extra, × parameters", "calls", "reads")  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = arguments(["check=true" if argument == "--check" else argument for argument in sys.argv[1:]])
    if options.threads:
        torch.set_num_threads(options.threads)
    say_load()
    setting, tables = setting_of(options), {}
    for model in MODELS if options.model == "all" else [options.model]:
        shapes = shapes_of(model)
        rows = table(shapes, setting)
        tables[model] = (headline(shapes, setting, rows), rows)
        print(markdown(*tables[model]), flush=True)
    write(options.out, tables)
    where, rows = next(iter(tables.values()))
    if options.keep:
        check.keep(rows, where)
        print(f"kept: {check.KEPT}")
    if options.check:
        verdict(shapes, setting, rows)


def arguments(given: list[str]) -> DictConfig:
    """The options. Raises DigrapError for one that is out of range, and for what does not go together."""
    options = bare_keys(given, DEFAULTS)
    check_flags(options, "check", "keep")
    check_whole(options, rounds=(1, 10_000), warmup=(0, 10_000), threads=(0, 4096))
    for key, choices in (("device", ("auto", "cpu", "cuda")), ("dtype", DTYPES), ("base", tuple(BASES))):
        if options[key] not in choices:
            raise DigrapError(f"{key}={options[key]}: choose one of {', '.join(choices)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise DigrapError("device=cuda: this machine has none; give device=cpu")
    if options.out and not (options.out.endswith((".json", ".md")) and Path(options.out).parent.is_dir()):
        raise DigrapError(f"out={options.out}: give a name that ends in .json or .md, in a folder that exists")
    if options.check or options.keep:
        flag = "check" if options.check else "keep"
        fixed = {"model": CHECKED, "device": "cpu", "dtype": "float32", "base": "adamw"}
        for key, value in fixed.items():
            if options[key] not in (DEFAULTS[key], value):
                raise DigrapError(f"{flag}=true measures with {key}={value}; leave {key}={options[key]} out")
        if options.check and options.keep:
            raise DigrapError("check=true and keep=true: give one of them; a check against itself finds nothing")
        options.update(fixed)
    if options.check:
        check.kept()  # a damaged file is named before minutes of measuring
    return options


def setting_of(options: DictConfig) -> Setting:
    """The setting that the options describe."""
    name = "cuda" if options.device == "auto" and torch.cuda.is_available() else options.device
    device = torch.device("cpu" if name == "auto" else name)
    return Setting(options.base, device, getattr(torch, options.dtype), options.rounds, options.warmup)


def say_load() -> None:
    """Say on stderr where other processes have the cores."""
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1:
        print(f"load average {load:.1f}: other processes use the cores; ratios are less sure", file=sys.stderr)


def verdict(shapes: Shapes, setting: Setting, rows: list[Row]) -> None:
    """Exit with code 1 and a line on stderr for each limit that is missed in two measurements."""
    before = check.kept()
    missed = check.misses(rows, before)
    if missed:
        print(f"measured once more: {', '.join(missed)}", file=sys.stderr)
        names = [name for name in RULES if name in missed]
        again = check.misses(table(shapes, setting, names), before)
        missed = {name: again[name] for name in missed if name in again}
    for line in (line for lines in missed.values() for line in lines):
        print(line, file=sys.stderr)
    if missed:
        raise SystemExit(1)
    kept = len(before["ratios"]) or "no"
    print(f"check: no limit is missed ({kept} kept ratios)")


# --- what is printed and written ----------------------------------------------------------------------------------


def headline(shapes: Shapes, setting: Setting, rows: list[Row]) -> str:
    """What was measured, where, and the absolute figures."""
    reference, copy = rows[0], next(row for row in rows if row.optimizer == "memory copy")
    moved = 2 * shapes.count * setting.dtype.itemsize / copy.milliseconds / 1e6
    kind = str(setting.dtype).removeprefix("torch.")
    return (
        f"{shapes.title}: {shapes.count:,} parameters in {len(shapes.tensors)} tensors, {kind}"
        f"{', anchor zero' if shapes.anchor == 'zero' else ''}; {processor(setting.device)}; torch {torch.__version__}; "
        f"{reference.optimizer}, fused: {reference.milliseconds:.2f} ms a step; memory copy: {moved:.1f} GB/s; "
        f"medians of {setting.rounds} rounds."
    )


def processor(device: torch.device) -> str:
    """The device's name, of a CPU with torch's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or 'CPU')}, {torch.get_num_threads()} threads"


def markdown(title: str, rows: list[Row]) -> str:
    """The table as Markdown, under its headline."""
    lines = [title, "", "| " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
    for row in rows:
        first = f"| {row.optimizer} | {row.implementation} | "
        if row.ratio is None:
            lines.append(first + f"{row.note} | {row.bytes} |" + " |" * 5)
            continue
        cells = [f"{row.ratio:.2f}", str(row.bytes), f"{row.bandwidth:.2f}"]
        cells += ["" if row.state is None else f"{row.state:.2f}", "" if row.extra is None else f"{row.extra:.2f}"]
        cells += ["" if value is None else f"{value:,}" for value in (row.calls, row.reads)]
        lines.append(first + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(out: str, tables: dict[str, tuple[str, list[Row]]]) -> None:
    """Write the tables to `out`, as JSON or Markdown by its ending; nothing where it is empty."""
    if out.endswith(".json"):
        write_json(Path(out), {
            model: {"headline": title, "rows": [asdict(row) for row in rows]} for model, (title, rows) in tables.items()
        })  # fmt: skip
    elif out:
        write_text(Path(out), "\n".join(markdown(*found) for found in tables.values()))
