"""A walk of 80 steps with parameters of every shape, for the rules and their references."""

import numpy as np
import torch

SHAPES = {"matrix": (5, 7), "tall": (6, 1), "vector": (6,), "kernel": (4, 3, 3, 2), "scalar": (), "one": (1,)}
STEPS = 80


def start(seed=0, dtype=torch.float64):
    """Named parameters of every shape."""
    rng = np.random.default_rng(seed)
    values = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    return {name: torch.nn.Parameter(torch.tensor(value, dtype=dtype)) for name, value in values.items()}


def gradients(params, seed=1, steps=STEPS):
    """Yield {name: gradient} for each step. The direction reverses every step for a while (ω grows), then persists;
    some steps move away from the anchor, some towards it; one tensor has a row of zeros."""
    rng = np.random.default_rng(seed)
    drift = {name: rng.standard_normal(param.shape) for name, param in params.items()}
    for step in range(steps):
        sign = (-1.0) ** step * 0.9 if step % 30 < 20 else (-1.0) ** (step // 30)
        result = {name: sign * drift[name] + 0.3 * rng.standard_normal(drift[name].shape) for name in params}
        result["matrix"][2] = 0.0
        yield result


def lr_at(step):
    """The learning rate of a step; it changes at every step."""
    return 0.02 * (1 + 0.5 * np.cos(step / 7))


def run(optimizer, params, grads, watch=lambda step: None):
    """Take a step for each of `grads` with a changing learning rate, and call `watch(step)` after each."""
    for step, values in enumerate(grads):
        for name, param in params.items():
            param.grad = torch.tensor(values[name], dtype=param.dtype)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        optimizer.step()
        watch(step)


BASES = {
    "adamw": {"base": "adamw", "betas": (0.8, 0.95), "weight_decay": 0.03},
    "sgd": {"base": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.03},
    "plain_sgd": {"base": "sgd"},
}
