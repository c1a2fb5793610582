"""A torch.compile'd model trained with DiGraP.

    python examples/compiled_model.py      needs torch and, on a CPU, a C++ compiler

Compiling changes how the model is computed, not its parameters: `compiled.parameters()` are the model's own tensors, so
anchors and state apply to both. Create the groups from the original model. In the compiled one, every parameter name
starts with `_orig_mod.`, both in groups and in checkpoints.
"""

from collections import OrderedDict

import torch
from torch import nn

from digrap.optim import DiGraP, param_groups


def make_model() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 32), nn.GELU())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(32, 4)))


def train(model: nn.Module, forward: nn.Module, steps: int) -> dict:
    """Train `model`, calling it as `forward`. Returns the losses, ω by parameter, the optimizer and the model."""
    generator, losses = torch.Generator().manual_seed(1), []
    inputs, labels = torch.randn(64, 16, generator=generator), torch.randint(4, (64,), generator=generator)
    optimizer = DiGraP(param_groups(model, unanchored=["head"]), lr=3e-3)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(forward(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return {"losses": losses, "report": optimizer.omega_report(), "optimizer": optimizer, "model": model}


def main(steps: int = 40) -> dict:
    """Compile and train. In the result, `same_tensors` says whether both models have the same parameters."""
    model = make_model()
    compiled = torch.compile(model)
    same = all(a is b for a, b in zip(compiled.parameters(), model.parameters(), strict=True))
    result = train(model, compiled, steps) | {"same_tensors": same, "compiled": compiled}
    print(f"loss {result['losses'][0]:.3f} → {result['losses'][-1]:.3f}; the same tensors: {same}")
    return result


if __name__ == "__main__":
    main()
