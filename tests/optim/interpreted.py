"""Triton's interpreter for kernels on CPU tensors, without a trace in the process afterwards, and steps for it."""

import contextlib
import importlib
import sys

import numpy as np
import pytest
import torch

from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP, kernels

KERNELS = "digrap.optim.kernels.triton"
CLASSES = {"L2SP": L2SP, "MARSSP": MARSSP, "SPD": SPD, "FTP": FTP, "DiGraP": DiGraP}
# With tiles of 16 elements, and of (4, 4): one number; a divided vector; rows in one tile; rows that need several
# tiles; divided rows; rows whose elements are apart.
LRS = (0.02, 0.03, 0.01, 0.025)
SHAPES = {"scalar": (), "vector": (70,), "short": (9, 3), "rows": (3, 20), "long": (2, 50), "kernel": (3, 5, 2)}


@contextlib.contextmanager
def interpreted():
    """Yield `digrap.optim.kernels.triton_step` and `triton_plan` with their kernels run by the interpreter.

    The modules are imported anew, because triton.jit decides when a kernel is defined, and forgotten afterwards. Tiles
    are small, so that small tensors have long rows, divided rows and several rows a program.
    """
    import triton.language as tl
    from triton import knobs
    from triton.runtime import interpreter
    from triton.runtime.jit import JITFunction

    before = forgotten()
    patched, scopes = set(), []

    def patch_once(function):
        """Triton patches its language at every call of a function, which is most of the interpreter's time."""
        modules = frozenset(name for name in ("tl", "core") if name in function.__globals__)
        if modules not in patched:
            patched.add(modules)
            scopes.append(patch(function))
        return interpreter._LangPatchScope()

    patch = interpreter._patch_lang
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(knobs.runtime, "interpret", True)
        for name, value in list(vars(tl).items()):  # tl.sum and its like, if triton was imported before
            if isinstance(value, JITFunction):
                monkeypatch.setattr(tl, name, interpreter.InterpretedFunction(value.fn))
        monkeypatch.setattr(interpreter, "_convert_float", _rounded)
        monkeypatch.setattr(interpreter, "_patch_lang", patch_once)
        plan = importlib.import_module(f"{KERNELS}_plan")
        step = importlib.import_module(f"{KERNELS}_step")
        plan.BLOCK, plan.WORK, plan.LONG, plan.NARROW, step.CHUNK = 16, 32, 40, 4, 4
        try:
            yield step, plan
        finally:
            for scope in reversed(scopes):
                scope.restore()
            forgotten()
            sys.modules.update(before)
            for name, module in before.items():
                setattr(kernels, name.rpartition(".")[2], module)


def forgotten():
    """Make Python forget the modules of the Triton path; returns them by name."""
    names = [name for name in sys.modules if name.startswith(KERNELS)]
    for name in names:
        vars(kernels).pop(name.rpartition(".")[2], None)  # `from package import module` looks here first
    return {name: sys.modules.pop(name) for name in names}


def _rounded(data, source, target, mode):
    """bfloat16 ↔ float32 with rounding to nearest, as on a GPU; the interpreter's own function cuts digits off."""
    import triton.language as tl

    if target == tl.bfloat16:
        return torch.from_numpy(np.array(data)).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert source == tl.bfloat16
    return torch.from_numpy(np.array(data).view(np.int16)).view(torch.bfloat16).float().numpy()


def start(dtype=torch.float64, names=None, shapes=SHAPES, device="cpu"):
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(shapes[name]) for name in names or shapes}
    return {name: torch.nn.Parameter(torch.tensor(x, dtype=dtype, device=device)) for name, x in values.items()}


def gradients(steps, seed=1, shapes=SHAPES):
    """{name: gradient} of each step; the direction reverses every other step, so that some steps conflict."""
    rng = np.random.default_rng(seed)
    drift = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    for step in range(steps):
        sign = (-1) ** (step // 2)
        yield {name: sign * drift[name] + 0.3 * rng.standard_normal(drift[name].shape) for name in shapes}


def fill(params, values):
    """Fresh gradients."""
    for name, param in params.items():
        param.grad = torch.tensor(values[name], dtype=param.dtype, device=param.device)


def walk(optimizer, params, grads, lrs=LRS):
    for step, values in enumerate(grads):
        fill(params, values)
        for group in optimizer.param_groups:
            group["lr"] = lrs[step % len(lrs)]
        optimizer.step()


def same(left, right, **tolerance):
    """Assert that two optimizers' states have the same entries, dtypes and devices, and close values."""
    for ours, theirs in zip(left.state.values(), right.state.values(), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], **tolerance, msg=lambda text, key=key: f"{key}: {text}")
