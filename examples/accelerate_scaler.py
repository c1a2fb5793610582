"""DiGraP with accelerate: float16 with loss scaling, and gradient accumulation.

    python examples/accelerate_scaler.py      needs accelerate: pip install -e '.[all]'

The same code runs on a GPU and on a CPU. One batch contains infinities on purpose. Its gradients are not finite, so the
scaler skips the step, and neither the weights nor DiGraP's state (moments, ω, δ, step count) change.
"""

from collections import OrderedDict

import torch
from accelerate import Accelerator
from torch import nn

from digrap.optim import DiGraP, param_groups


def make_model() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(32, 4)))


def make_accelerator(accumulation: int, precision: str = "fp16") -> Accelerator:
    """An Accelerator that scales the loss, also on a CPU."""
    accelerator = Accelerator(mixed_precision=precision, gradient_accumulation_steps=accumulation)
    if precision == "fp16" and accelerator.scaler is None:
        # On a CPU, accelerate silently computes "fp16" in float32 without a scaler, although torch supports both there.
        accelerator.scaler = torch.amp.GradScaler(accelerator.device.type)
        accelerator.native_amp = True
    return accelerator


def update(accelerator: Accelerator, model: nn.Module, optimizer, micro_batches: list[tuple]) -> float:
    """Take one step over the micro-batches that the accelerator accumulates. Returns the mean loss."""
    total = 0.0
    for inputs, labels in micro_batches:
        inputs, labels = inputs.to(accelerator.device), labels.to(accelerator.device)
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(inputs), labels)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)  # unscales the gradients first
            optimizer.step()  # does nothing before the last micro-batch
            optimizer.zero_grad()
        total += loss.item() / len(micro_batches)
    return total


def main(steps: int = 40, accumulation: int = 2, bad_step: int = 20, precision: str = "fp16") -> dict:
    """Train. Returns the losses, the steps skipped, ω by parameter, the trained model and the optimizer."""
    accelerator, module = make_accelerator(accumulation, precision), make_model()
    model, optimizer = accelerator.prepare(module, DiGraP(param_groups(module, unanchored=["head"]), lr=3e-3))
    generator, losses, skipped = torch.Generator().manual_seed(1), [], []
    inputs, labels = torch.randn(64, 16, generator=generator), torch.randint(4, (64,), generator=generator)
    for step in range(steps):
        batch = inputs * float("inf") if step == bad_step else inputs
        micro_batches = list(zip(batch.chunk(accumulation), labels.chunk(accumulation), strict=True))
        losses.append(update(accelerator, model, optimizer, micro_batches))
        if optimizer.step_was_skipped:
            skipped.append(step)
    report = optimizer.optimizer.omega_report()
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}; steps skipped: {skipped}")
    return {"losses": losses, "skipped": skipped, "report": report, "model": module, "optimizer": optimizer}


if __name__ == "__main__":
    main()
