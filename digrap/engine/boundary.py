"""What all ranks agree on between two optimizer steps."""

from __future__ import annotations

import signal

import torch
from accelerate import Accelerator

from digrap.engine import interruption


def agree(accelerator: Accelerator, due: bool) -> tuple[bool, signal.Signals | None]:
    """Whether a checkpoint is due on any rank, and the signal that asks any of them to end. All ranks call it."""
    mine = interruption.asked()
    if accelerator.num_processes == 1:
        return due, mine
    wanted = torch.tensor([due, *(mine == number for number in interruption.SIGNALS)], dtype=torch.float32)
    due, *found = accelerator.reduce(wanted.to(accelerator.device)).tolist()
    # Where several came: a Ctrl-C first, which ends a job of Slurm for good.
    asked = [number for number, count in zip(interruption.SIGNALS, found, strict=True) if count]
    return bool(due), asked[0] if asked else None
