"""How far each layer has moved, and what the method did to its gradients: the epoch's record for later plots."""

from __future__ import annotations

from torch.optim import Optimizer

from digrap.engine.job import Job
from digrap.optim.diagnostics import displacement_report


def layer_report(job: Job, optimizer: Optimizer) -> dict[str, dict[str, float | None]]:
    """{parameter: {norm, relative, …}} of every parameter that trains and has an anchor.

    `norm` is ‖θ − θ0‖, `relative` ‖θ − θ0‖/‖θ0‖ (None where θ0 = 0, as for adapters). Optimizers with an
    `omega_report` (DiGraP) add ω, the share of gradient energy removed and the conflict rate.
    """
    default = job.cfg.peft["anchor"]
    zero = {
        param for group in optimizer.param_groups if group.get("anchor", default) == "zero" for param in group["params"]
    }
    anchors = {
        name: job.before[name]
        for name, param in job.backbone.module.named_parameters()
        if param not in zero and name in job.before
    }
    moved = displacement_report(
        [
            (name, param)
            for name, param in job.backbone.module.named_parameters()
            if param.requires_grad and name not in job.unanchored
        ],
        anchors,
    )
    own = getattr(optimizer, "omega_report", dict)()
    return {name: {**own.get(name, {}), **moved[name]} for name in moved}
