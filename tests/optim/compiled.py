"""Compile the launches of a step for an NVIDIA GPU, which needs no GPU: `python -m tests.optim.compiled 90 bfloat16`.

Prints a line for each kernel: its name and the size of its machine code.
"""

import os
import sys

import torch

from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP
from digrap.optim.bucket import Bucket

RULES = {"l2sp": L2SP, "mars_sp": MARSSP, "spd": SPD, "ftp": FTP, "digrap": DiGraP}


def launches(dtype, **options):
    """The launches of one step of each rule as (kernel, arguments by name), recorded on CPU tensors."""
    from triton.runtime.jit import JITFunction

    from digrap.optim.kernels import triton_step

    found = []

    def record(kernel, *args, grid, warmup, **kwargs):
        found.append((kernel, dict(zip(kernel.arg_names, args, strict=False)) | kwargs))

    run, JITFunction.run = JITFunction.run, record
    try:
        for rule in RULES.values():
            param = torch.nn.Parameter(torch.zeros(3, 5, dtype=dtype))
            optimizer = rule([param], **options)
            state, group = optimizer.state[param], optimizer.param_groups[0]
            triton_step.step(optimizer, Bucket([param], [torch.zeros_like(param)], [state], group, 1, "triton"))
    finally:
        JITFunction.run = run
    return found


def compiled(kernel, arguments, capability):
    """The kernel compiled for a compute capability such as 90."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import mangle_type

    constants = {param.name: arguments[param.name] for param in kernel.params if param.is_constexpr}
    signature = {name: "constexpr" if name in constants else mangle_type(arguments[name]) for name in kernel.arg_names}
    source = triton.compiler.ASTSource(kernel, signature, constants)
    options = {"num_warps": arguments.get("num_warps", 4)}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def main(capability, *dtypes, **options):
    for dtype in dtypes:
        for kernel, arguments in launches(getattr(torch, dtype), **options):
            code = compiled(kernel, arguments, capability).asm["cubin"]
            print(kernel.fn.__module__.rpartition(".")[2], kernel.fn.__name__, dtype, len(code))


if __name__ == "__main__":
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    main(int(sys.argv[1]), *sys.argv[2:])
