"""The ten VQA sets by name, in the order of FRAMES-VQA: in distribution, near, far.

A new set is one module of this package, which defines `SET`, and its name in the tuple below.
"""

from __future__ import annotations

from importlib import import_module

from digrap.data.vqa.vqa_set import VQASet

SETS: dict[str, VQASet] = {
    name: import_module(f"{__name__}.{name}").SET
    for name in (
        "vqav2",
        "iv_vqa",
        "cv_vqa",
        "vqa_rephrasings",
        "vqa_cp",
        "vqa_ce",
        "advqa",
        "textvqa",
        "vizwiz",
        "ok_vqa",
    )
}
