"""A device whose memory does not suffice: one message with the options that need less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from digrap.core.errors import DigrapError, first_line
from digrap.engine.sharding import check_sharding


@contextlib.contextmanager
def advising(where: str, remedies: Sequence[str]) -> Iterator[None]:
    """Turn torch's error of a full device into a DigrapError that says where it came, and names the remedies."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = first_line(error).partition(" of which")[0].rstrip(".")
        text = f"the device is out of memory {where} ({said})"
        raise DigrapError(f"{text}; {', or '.join(remedies or ['take one with more'])}") from error


def for_weights(cfg: DictConfig) -> list[str]:
    """What lets more weights into a device's memory."""
    if cfg.trainer.sharding != "none":
        return ["with more trainer.devices each holds less"]
    try:
        check_sharding(OmegaConf.merge(cfg, {"trainer": {"sharding": "full"}}))
    except DigrapError:  # this run cannot be cut
        return []
    return ["trainer.sharding=full trainer.devices=<several> cuts the model over GPUs"]


def for_training(cfg: DictConfig, share: int, micro: int) -> list[str]:
    """What a step with `micro` examples at a time, of this process's `share` of a batch, needs less memory with."""
    less = next((k for k in range(micro // 2, 0, -1) if share % k == 0), None)
    found = [] if less is None else [f"trainer.micro_batch={less} (now {micro}) accumulates the rest of the batch"]
    if cfg.backbone.get("gradient_checkpointing") is False:
        found.append("backbone.gradient_checkpointing=true computes activations twice instead of keeping them")
    return found + for_weights(cfg)


def for_answering(cfg: DictConfig, option: str) -> list[str]:
    """What answering needs less memory with; `option` is what gives the batch size."""
    size = cfg.trainer.eval_batch_size
    return [f"{option}={size // 2} (now {size}) takes fewer at a time"] if size > 1 else []
