"""Triton's interpreter for kernels on CPU tensors, in this process and without a trace in it afterwards."""

import contextlib
import importlib
import sys

import numpy as np
import pytest
import torch

KERNELS = "digrap.optim.kernels.triton"


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

    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(KERNELS)}
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
        plan.BLOCK, plan.WORK, plan.LONG, plan.NARROW, step.CHUNK = 64, 64, 160, 8, 4
        try:
            yield step, plan
        finally:
            for scope in reversed(scopes):
                scope.restore()
            for name in [name for name in sys.modules if name.startswith(KERNELS)]:
                del sys.modules[name]
            sys.modules.update(before)


def _rounded(data, source, target, mode):
    """bfloat16 ↔ float32 with rounding to nearest, as on a GPU; the interpreter's own function cuts digits off."""
    import triton.language as tl

    if target == tl.bfloat16:
        return torch.from_numpy(np.array(data)).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert source == tl.bfloat16
    return torch.from_numpy(np.array(data).view(np.int16)).view(torch.bfloat16).float().numpy()
