"""What ranks do in tests: backbones that the config names by their functions here, since a started process sees no
monkeypatch, and work for the launcher."""

import pytest
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from digrap.config.compose import compose
from digrap.engine import ranks
from digrap.engine.accelerator import open_accelerator
from digrap.engine.evaluate import Evaluator
from digrap.engine.run import run
from digrap.engine.sharding import shard, unsharded
from digrap.methods.wise_ft import WiSE
from digrap.models import mini_resnet as resnet
from digrap.models.backbone import Backbone
from digrap.models.weights import tensors_sha256
from tests.engine.runs import crash_at
from tests.models.tiny import tiny

TWO = ("trainer.micro_batch=16", "trainer.devices=2")
DOUBLED, WITH_NORM = (f"backbone._target_={__name__}.{name}" for name in ("doubled", "with_norm"))


def doubled(
    num_classes: int = 45, classes=None, pretrained: bool = True, weights: str = str(resnet.WEIGHTS)
) -> Backbone:
    """The miniature's backbone in float64."""
    backbone = resnet.mini_resnet(num_classes, classes, pretrained, weights)
    transform = backbone.batch_transform
    backbone.module.double()
    backbone.batch_transform = lambda batch: transform(batch).double()
    return backbone


def with_norm(
    num_classes: int = 45, classes=None, pretrained: bool = True, weights: str = str(resnet.WEIGHTS)
) -> Backbone:
    """The same with batch norm before the head."""
    backbone = doubled(num_classes, classes, pretrained, weights)
    features = backbone.module.fc.in_features
    norm = nn.BatchNorm1d(features).double()
    backbone.module.global_pool = nn.Sequential(backbone.module.global_pool, norm)
    return backbone


def make(jobs: list[tuple]) -> str:
    """Make runs one after another: (config, folder, the step at which the first start is interrupted, or None)."""
    for cfg, folder, step in jobs:
        if step is None:
            run(cfg, folder)
            continue
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                run(cfg, folder)
    return f"{ranks.world()} ranks"


def crashing(cfg, folder, where: str) -> None:
    """Make a run whose second rank fails by an error of no user's: testing, or after the fit."""

    def fail(*_, **__):
        raise ZeroDivisionError("in a hook")

    with pytest.MonkeyPatch.context() as patch:
        if ranks.rank() == 1:
            patch.setattr(*{"test": (Evaluator, "score"), "after the fit": (WiSE, "__call__")}[where], fail)
        run(cfg, folder)


def sharded_tensors() -> dict:
    """{parameter: whether every rank has a part of it only} of the tiny PaliGemma, cut as a run cuts it."""
    cfg = compose(["dataset=minivqa", "trainer.sharding=full", "device=cpu"])
    with open_accelerator(cfg) as accelerator:
        module = tiny("tiny_paligemma").module
        shard(cfg, accelerator, module)
        parts = {name: isinstance(param, DTensor) for name, param in module.named_parameters()}
        blocks = sum(isinstance(part, FSDPModule) for part in module.modules())
        whole = tensors_sha256(module.state_dict())
        with unsharded(module):
            seen = {name: isinstance(param, DTensor) for name, param in module.named_parameters()}
        return {"parts": parts, "unsharded": seen, "blocks": blocks, "sha256": whole}
