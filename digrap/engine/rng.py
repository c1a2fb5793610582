"""Random states of every process, saved with a checkpoint and put back on resume."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


def rng_state(accelerator: Accelerator) -> list[dict[str, Any]]:
    """torch's generators of all processes, in the order of their ranks."""
    state = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    return gather_object([state]) if accelerator.num_processes > 1 else [state]


def restore_rng(accelerator: Accelerator, states: list[dict[str, Any]]) -> None:
    """Put this process's generators back. Other generators are not used: see engine/loaders.py."""
    if accelerator.process_index < len(states):
        state = states[accelerator.process_index]
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], accelerator.device)
