"""What both benchmarks share: common options, where they run, tables as Markdown and JSON."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from digrap.cli.arguments import check_whole
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text

COMMON = {"model": "all", "device": "auto", "threads": 0, "out": ""}  # threads=0: torch's own choice


def check_common(options: DictConfig, **choices: Iterable[str]) -> None:
    """Raise DigrapError for an option out of range, or a name that is none of its `choices`."""
    check_whole(options, rounds=(1, 10_000), warmup=(0, 10_000), threads=(0, 4096))
    for key, names in {"device": ("auto", "cpu", "cuda"), **choices}.items():
        if options[key] not in names:
            raise DigrapError(f"{key}={options[key]}: choose one of {', '.join(names)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise DigrapError("device=cuda: this machine has no CUDA GPU; give device=cpu")
    out = Path(options.out)
    if options.out and (out.suffix not in (".json", ".md") or not out.parent.is_dir() or out.is_dir()):
        raise DigrapError(f"out={options.out}: give a file that ends in .json or .md, in a folder that exists")


def start(options: DictConfig) -> torch.device:
    """Set the number of threads, say on stderr where other processes have the cores, and return the device."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1:
        print(
            f"load average {load:.1f}: other processes are using the cores, so the ratios are less reliable",
            file=sys.stderr,
        )
    best = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(best if options.device == "auto" else options.device)


def place(device: torch.device) -> str:
    """The device's name (of a CPU with torch's threads) and torch's version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}; torch {torch.__version__}"
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(named, platform.processor() or "CPU")
    return f"{processor}, {torch.get_num_threads()} threads; torch {torch.__version__}"


def markdown(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], texts: int) -> str:
    """A table under its title; the first `texts` columns are text, the others numbers. None is an empty cell, a float
    has two digits."""
    columns = list(columns)
    bars = ["---"] * texts + ["---:"] * (len(columns) - texts)
    lines = [columns, bars, *([_cell(value) for value in row] for row in rows)]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def write(out: str, plain: Any, texts: Iterable[str]) -> None:
    """Write `plain` to `out` as JSON, or the texts as Markdown, by its ending; nothing where it is empty."""
    if out.endswith(".json"):
        write_json(Path(out), plain)
    elif out:
        write_text(Path(out), "\n".join(texts))
