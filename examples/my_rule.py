"""A rule of your own, in plain PyTorch: AdamW with a pull back towards the initial weights after every step.

    make judge METHOD=examples/my_rule.py      compares it with vanilla, L2-SP, WiSE-FT and DiGraP (docs/judge.md)

The class gets those of lr, weight_decay, betas, eps … that it accepts; a new head's group has anchor="none".
"""

import torch


class PullBack(torch.optim.AdamW):
    """θ ← AdamW step of θ;   θ ← θ − lr · pull · (θ − θ0)"""

    def __init__(self, params, pull=1.0, **options):
        super().__init__(params, **options)
        self.defaults["pull"] = pull
        for group in self.param_groups:
            group.setdefault("pull", pull)

    @torch.no_grad()
    def step(self, closure=None):
        params = [param for group in self.param_groups for param in group["params"]]
        starts = {param: param.clone() for param in params if param not in self.state}  # before the first step
        loss = super().step(closure)
        for group in self.param_groups:
            if group.get("anchor") == "none":
                continue
            for param in group["params"]:
                if param.grad is not None:
                    start = self.state[param].setdefault("start", starts.get(param))  # kept in checkpoints
                    param.lerp_(start, group["lr"] * group["pull"])
        return loss
