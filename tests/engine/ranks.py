"""What ranks do in tests: backbones that the config names by their functions here, since a started process sees no
monkeypatch, and work for the launcher."""

import os
import signal
import time

import torch
from torch import nn

from digrap.core.errors import DigrapError
from digrap.engine import ranks
from digrap.models import mini_resnet as resnet
from digrap.models.backbone import Backbone

TWO = ("trainer.micro_batch=16", "trainer.devices=2")
HERE = __name__


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


def ending(how: str, rank: int = 1) -> str:
    """Work that ends one rank in some way, while the others wait for it in a collective."""
    torch.distributed.init_process_group("gloo")
    if ranks.rank() == rank:
        if how == "error":
            raise DigrapError("the data are not there")
        if how == "crash":
            raise ZeroDivisionError("in a hook")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
    torch.distributed.all_reduce(torch.ones(1))
    return f"{ranks.rank()} of {ranks.world()}"


def waiting(file: str) -> None:
    """Work that says that it has begun, and leaves in its own way after SIGTERM: with 143, once it has saved."""

    def leave(*_):
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, leave)
    with open(f"{file}{ranks.rank()}", "w") as begun:
        begun.write(str(os.getpid()))
    time.sleep(120)
