"""DiGraP in a plain PyTorch loop, in place of AdamW.

    python examples/plain_pytorch.py      needs torch

A random body stands in for the pre-trained one. It is anchored at its current weights; the new head has no anchor.
"""

from collections import OrderedDict

import torch
from torch import nn

from digrap.optim import DiGraP, param_groups


def main(steps: int = 100) -> dict:
    """Train. Returns the losses and ω by parameter."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
    model = nn.Sequential(OrderedDict(body=body, head=nn.Linear(32, 4)))
    inputs, labels, losses = torch.randn(128, 16), torch.randint(4, (128,)), []

    optimizer = DiGraP(param_groups(model, unanchored=["head"]), lr=3e-3)
    for _ in range(steps):
        batch = torch.randint(128, (32,))
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}")
    for name, row in optimizer.omega_report().items():
        print(f"{name:16} ω {row['omega']:.3f}, steps in conflict {row['conflict']:.0%}")
    return {"losses": losses, "report": optimizer.omega_report()}


if __name__ == "__main__":
    main()
