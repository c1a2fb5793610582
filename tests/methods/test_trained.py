"""The parameters that train, and the layers in training mode."""

import pytest
import torch
from torch import nn

from digrap.methods.trained import choose_trained, training_mode


def net():
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Linear(4, 4)),
            "norm": nn.LayerNorm(4),
            "drop": nn.Dropout(0.5),
            "head": nn.Linear(4, 2),
        }
    )


def trained(module):
    return {name for name, param in module.named_parameters() if param.requires_grad}


def test_head_alone_with_everything_else_in_evaluation_mode():
    module = net()
    choose_trained(module, "head", ["head"])
    training_mode(module)
    assert trained(module) == {"head.weight", "head.bias"}
    assert module["head"].training and module["drop"].training  # the head's own dropout
    assert not any(layer.training for layer in module["body"].modules()) and not module["norm"].training


def test_frozen_batch_norm_keeps_its_statistics():
    module = net()
    choose_trained(module, "head", ["head"])
    training_mode(module)
    before = module["body"][1].running_mean.clone()
    module["body"][1](torch.randn(8, 4, 2, 2) + 3)
    assert torch.equal(module["body"][1].running_mean, before)


def test_norms_and_head():
    module = net()
    choose_trained(module, "norms_and_head", ["head.weight"])
    training_mode(module)
    assert trained(module) == {"body.1.weight", "body.1.bias", "norm.weight", "norm.bias", "head.weight"}
    assert module["body"][1].training and not module["body"][0].training


def test_norms_of_other_libraries_count_and_a_model_without_any_is_refused():
    class RmsNorm2d(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

    module = nn.ModuleDict({"norm": RmsNorm2d(), "body": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    choose_trained(module, "norms_and_head", ["head"])
    assert trained(module) == {"norm.weight", "head.weight", "head.bias"}
    del module["norm"]
    with pytest.raises(ValueError, match="no normalisation layer"):
        choose_trained(module, "norms_and_head", ["head"])


def test_all_is_what_the_backbone_left_trainable():
    module = net()
    module["body"].requires_grad_(False)  # as peft freezes everything but the adapters
    choose_trained(module, "all", ())
    assert trained(module) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_refusals():
    with pytest.raises(ValueError, match="'heads' is not one of all, head, norms_and_head"):
        choose_trained(net(), "heads", ["head"])
    with pytest.raises(ValueError, match="has no head to train"):
        choose_trained(net(), "head", ())
    with pytest.raises(ValueError, match="no parameter or module is called 'fc'"):
        choose_trained(net(), "head", ["fc"])
