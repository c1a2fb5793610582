"""DiGraP in timm's optimizer registry: `create_optimizer_v2(model, opt="digrap", …)`.

    python examples/timm_registry.py      needs timm: pip install -e '.[all]'

timm groups parameters by weight decay or by layer, but knows nothing of anchors, so `param_group_fn` gives a new head
its own group. With layer decay the groups have `lr_scale`, which timm's schedulers apply and optimizers do not.
A small random ViT stands in for the pre-trained one.
"""

import torch
from timm.models import VisionTransformer
from timm.optim import OptimInfo, create_optimizer_v2, list_optimizers, param_groups_layer_decay
from timm.optim._optim_factory import default_registry  # timm exports it only there
from timm.scheduler import CosineLRScheduler
from torch import nn

from digrap.optim import DiGraP, param_groups


def register() -> None:
    """Register DiGraP, once per process; timm's train.py would then accept --opt digrap too."""
    if "digrap" not in list_optimizers():
        default_registry.register(
            OptimInfo("digrap", DiGraP, description="Directional Gradient Projection", has_betas=True)
        )


def make_model() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=4)


def by_anchor(model: nn.Module) -> list[dict]:
    """Two groups by weight decay, and two more without an anchor for the head."""
    return param_groups(model, unanchored=["head"], no_decay="vectors")


def by_layer(model: nn.Module) -> list[dict]:
    """timm's groups by layer, with the head's parameters in groups without an anchor."""
    head, result = set(model.get_classifier().parameters()), []
    layers = param_groups_layer_decay(
        model, weight_decay=0.05, layer_decay=0.75, no_weight_decay_list=model.no_weight_decay()
    )
    for group in layers:
        for fresh, extra in ((False, {}), (True, {"anchor": "none"})):
            if params := [param for param in group["params"] if (param in head) == fresh]:
                result.append(group | extra | {"params": params})
    return result


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    generator, losses = torch.Generator().manual_seed(1), []
    images, labels = torch.randn(32, 3, 16, 16, generator=generator), torch.randint(4, (32,), generator=generator)
    scheduler = CosineLRScheduler(optimizer, t_initial=steps, t_in_epochs=False)
    for step in range(steps):
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step_update(step + 1)
        losses.append(loss.item())
    return losses


def main(steps: int = 20) -> dict:
    """Train with both kinds of groups. Returns for each the losses, ω by parameter and the optimizer."""
    register()
    results = {}
    for name, groups in (("by_anchor", by_anchor), ("by_layer", by_layer)):
        model = make_model()
        optimizer = create_optimizer_v2(
            model, opt="digrap", lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98), mu=0.05, param_group_fn=groups
        )
        losses = train(model, optimizer, steps)
        results[name] = {"losses": losses, "report": optimizer.omega_report(), "optimizer": optimizer}
        print(f"{name}: {len(optimizer.param_groups)} groups, loss {losses[0]:.3f} → {losses[-1]:.3f}")
    return results


if __name__ == "__main__":
    main()
