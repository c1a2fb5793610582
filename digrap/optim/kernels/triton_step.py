"""A step by Triton kernels, for buckets with anchors on CUDA.

A launch per bucket reduces (DiGraP, MARS-SP) or updates while it reduces (SPD, FTP), one of a program per tensor turns
sums into the rule's numbers, and one updates or shrinks; L2-SP is one launch. The arithmetic is float32 (float64 for
float64 parameters); states are those of the other paths, with their names and dtypes. What a CUDA graph needs is in
`triton_plan`. The kernels are tested by Triton's interpreter and compiled for NVIDIA GPUs in the tests, which also run
them where there is one (tests/optim/test_gpu.py).
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import torch
import triton.language as tl
from torch import Tensor

from digrap.optim.kernels import triton_digrap, triton_ftp, triton_mars_sp, triton_plan, triton_spd, triton_update
from digrap.optim.kernels.triton_plan import Plan, flat, plan_for, rows_of_first, rows_of_second
from digrap.optim.tensors import scalar_dtype

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer
    from digrap.optim.bucket import Bucket

DTYPES = {
    torch.float32: tl.float32, torch.float64: tl.float64, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16,
}  # fmt: skip
CHUNK = 256  # sums that the program of a tensor adds at a time
WARPS = 8  # of the launches that keep several sums per element: fewer registers a thread than the usual 4 warps need


def step(optimizer: AnchoredOptimizer, bucket: Bucket) -> None:
    """Take one step for a bucket with anchors, its tensors dense, contiguous, of one dtype and on one device.

    Raises RuntimeError in the capture of a CUDA graph without capturable=True, and for a `step` count on another device
    with it.
    """
    group, device = bucket.group, bucket.params[0].device
    capturable = group["capturable"]
    steps = bucket.gather("step")
    if capturable and any(count.device != device for count in steps):
        raise RuntimeError(f"capturable=True needs the state's step on {device}; load the state dict again to move it")
    if not capturable and triton_plan.capturing(device):
        name = type(optimizer).__name__
        raise RuntimeError(f"a CUDA graph can capture {name}.step() only with capturable=True in every group")
    bucket.count()
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        rows_of, launch = RULES[optimizer.kernel]
        plan = plan_for(optimizer, bucket, rows_of(group))
        lr = group["lr"]
        moving = lr if isinstance(lr, Tensor) and lr.device.type != "cpu" else None  # not read on the host
        plan.point(bucket, optimizer.scalars, _numbers(optimizer, bucket, float(lr) if moving is None else 0.0), moving)
        types = {
            "COUNT": len(triton_plan.TENSORS) + len(optimizer.scalars),
            "DT": DTYPES[bucket.params[0].dtype],
            "NUM": DTYPES[scalar_dtype(bucket.params[0])],
        }
        launch(plan, group, types)


def _numbers(optimizer: AnchoredOptimizer, bucket: Bucket, lr: float) -> list[float]:
    """The vector of numbers, in the order of `triton_parts`."""
    group = bucket.group
    betas = group["betas"] if group["base"] == "adamw" else (group["momentum"], 0.0)
    logs = (math.log(beta) if beta > 0 else -math.inf for beta in betas)
    own = {
        "digrap": ("lam", "mu", "omega_max", "omega"), "ftp": ("k", "mu"), "l2sp": ("lam",), "mars_sp": ("lam",),
        "spd": ("strength",),
    }[optimizer.kernel]  # fmt: skip
    t = 0.0 if group["capturable"] else bucket.step  # capturable: the kernels read t from the state
    return [lr, t, *betas, *logs, group.get("eps", 0.0), group["weight_decay"], *(group[key] or 0.0 for key in own)]


def _common(group: dict) -> tuple[dict, dict, dict]:
    """Compile-time options: of a base update, of a kernel that reads anchors, of one with tiles."""
    base = group["base"]
    if base == "sgd" and group["momentum"]:
        base = "nesterov" if group["nesterov"] else "momentum"
    zero = {"ZERO": group["anchor"] == "zero", "BLOCK": triton_plan.BLOCK}
    tiles = zero | {"NARROW": triton_plan.NARROW, "num_warps": WARPS}
    return {"BASE": base, "CAPTURABLE": group["capturable"]}, zero, tiles


def _update(plan: Plan, base: dict, zero: dict, types: dict, kernel: str, stored: bool = False) -> None:
    work = plan.flat
    triton_update.update[(work.programs,)](
        plan.addresses, plan.numbers, work.owner, work.fields, plan.rows.fields, plan.results, plan.best,
        KERNEL=kernel, STORED=stored, **base, **zero, **types,
    )  # fmt: skip


def _l2sp(plan: Plan, group: dict, types: dict) -> None:
    base, zero, _ = _common(group)
    _update(plan, base, zero, types, "l2sp")


def _mars_sp(plan: Plan, group: dict, types: dict) -> None:
    base, zero, tiles = _common(group)
    work = plan.rows
    triton_mars_sp.reduce[(work.programs,)](
        plan.addresses, work.owner, work.fields, plan.sums, plan.candidates, **tiles, **types
    )
    triton_mars_sp.choose_row[(work.tensors,)](
        work.fields, plan.sums, plan.candidates, plan.best, CHUNK=CHUNK, NUM=types["NUM"]
    )
    _update(plan, base, zero, types, "mars_sp")


def _digrap(plan: Plan, group: dict, types: dict) -> None:
    base, zero, tiles = _common(group)
    work, learnt = plan.rows, group["omega"] is None
    shared = {"UNITS": group["normalize"] != "none", "LEARNT": learnt}
    triton_digrap.reduce[(work.programs,)](
        plan.addresses, work.owner, work.fields, plan.sums, **shared, **tiles, **types
    )
    info = torch.finfo(plan.sums.dtype)
    triton_digrap.project[(work.tensors,)](
        plan.addresses, plan.numbers, work.fields, plan.sums, plan.results, **shared,
        LISTING=group["rule"] == "listing", CAPTURABLE=group["capturable"], COUNT=types["COUNT"], CHUNK=CHUNK,
        TINY_SQUARE=info.tiny / info.eps, NUM=types["NUM"],
    )  # fmt: skip
    _update(plan, base, zero, types, "digrap", stored=learnt)


def _spd(plan: Plan, group: dict, types: dict) -> None:
    base, zero, _ = _common(group)
    work = plan.flat
    triton_spd.update[(work.programs,)](
        plan.addresses, plan.numbers, work.owner, work.fields, plan.sums, **base, **zero, **types
    )
    triton_spd.measure[(work.tensors,)](
        plan.numbers, work.fields, plan.sums, plan.results, CHUNK=CHUNK, NUM=types["NUM"]
    )
    triton_spd.shrink[(work.programs,)](plan.addresses, work.owner, work.fields, plan.results, **zero, **types)


def _ftp(plan: Plan, group: dict, types: dict) -> None:
    base, _, tiles = _common(group)
    work = plan.rows
    triton_ftp.update[(work.programs,)](
        plan.addresses, plan.numbers, work.owner, work.fields, plan.sums, plan.row_sums, **base, **tiles, **types
    )
    triton_ftp.bound[(work.tensors,)](
        plan.addresses, plan.numbers, work.fields, plan.sums, plan.row_sums, plan.results,
        CAPTURABLE=group["capturable"], COUNT=types["COUNT"], CHUNK=CHUNK, NUM=types["NUM"],
    )  # fmt: skip
    triton_ftp.shrink[(work.programs,)](
        plan.addresses, work.owner, work.fields, plan.row_sums, plan.results, **tiles, **types
    )


def _digrap_rows(group: dict):
    """Rows matter only to unit(·) over rows."""
    return rows_of_second if group["normalize"] == "rows" and group["omega"] is None else flat


RULES = {
    "digrap": (_digrap_rows, _digrap),
    "ftp": (lambda group: rows_of_first, _ftp),
    "l2sp": (lambda group: flat, _l2sp),
    "mars_sp": (lambda group: rows_of_first, _mars_sp),
    "spd": (lambda group: flat, _spd),
}
