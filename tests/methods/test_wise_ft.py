"""WiSE-FT: the average, its ends, the weights it leaves alone, and LoRA."""

import pytest
import torch

from digrap.methods.method import Context
from digrap.methods.wise_ft import WiSE


class Net(torch.nn.Module):
    """A layer, batch norm with its statistics, a head."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.norm, self.head = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
        self.norm.running_mean.copy_(torch.randn(4))

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def outcomes(alpha, curve=(), unanchored=(), anchor="init"):
    before, module = Net(0).state_dict(), Net(1)
    module.norm.num_batches_tracked += 7
    context = Context(module, before, frozenset(unanchored), anchor, None)
    return before, module.state_dict(), list(WiSE(alpha=alpha, curve=curve)(context))


def test_the_ends_are_the_two_models_bit_for_bit():
    before, after, (first, last) = outcomes(1.0, [0.0])
    for name, value in after.items():
        start = value if not value.is_floating_point() else before[name]
        assert torch.equal(first.weights[name], start) and torch.equal(last.weights[name], value)
    assert (first.name, first.chosen, last.name, last.chosen) == ("0", False, "1", True)


def test_the_average_in_float64():
    before, after, (only,) = outcomes(0.3)
    for name, value in after.items():
        if value.is_floating_point():
            expected = 0.7 * before[name].double() + 0.3 * value.double()
            torch.testing.assert_close(only.weights[name].double(), expected, rtol=1e-6, atol=1e-7)
    assert not torch.equal(only.weights["norm.running_mean"], after["norm.running_mean"])
    assert only.weights["norm.num_batches_tracked"] == 7


def test_only_what_has_a_pretrained_value_is_in_the_variants():
    """A parameter that is not in `before` never changed: it is neither copied nor averaged."""
    before, module = Net(0).state_dict(), Net(1)
    whole = Context(module, before, frozenset(["head.bias"]), "init", None)
    known = ("body.weight", "norm.running_mean", "norm.num_batches_tracked", "head.bias")
    part = Context(module, {name: before[name] for name in known}, frozenset(["head.bias"]), "init", None)
    for found, expected in zip(*(WiSE(alpha=0.5, curve=[0, 1])(context) for context in (part, whole)), strict=True):
        assert set(found.weights) == set(known)
        assert all(torch.equal(value, expected.weights[name]) for name, value in found.weights.items())


def test_parameters_without_anchor_stay():
    _, after, (only,) = outcomes(0.5, unanchored=["head.weight", "head.bias"])
    assert torch.equal(only.weights["head.weight"], after["head.weight"])
    assert not torch.equal(only.weights["body.weight"], after["body.weight"])


def test_the_curve_holds_alpha_once_and_in_order():
    *_, found = outcomes(0.5, [1, 0.5, 0])
    assert [(variant.name, variant.chosen) for variant in found] == [("0", False), ("0.5", True), ("1", False)]


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match="outside"):
        WiSE(alpha=alpha)


class LoRA(torch.nn.Module):
    """W x + B A x with peft's names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.base = torch.nn.Linear(5, 4, bias=False)
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(5, 2, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(2, 4, bias=False)})

    def forward(self, x):
        return self.base(x) + self.lora_B["default"](self.lora_A["default"](x))


def test_lora_scales_the_product_once():
    """The model with scaled adapters equals the one with (1 − a) W + a (W + B A) merged."""
    module = LoRA()
    module.base.requires_grad_(False)
    context = Context(module, {}, frozenset(), "zero", None)
    merged = module.base.weight + module.lora_B["default"].weight @ module.lora_A["default"].weight
    expected = 0.6 * module.base.weight + 0.4 * merged
    (only,) = WiSE(alpha=0.4)(context)
    assert set(only.weights) == {"lora_A.default.weight", "lora_B.default.weight"}
    x = torch.randn(7, 5)
    module.load_state_dict(only.weights, strict=False)
    torch.testing.assert_close(module(x), x @ expected.T)


def test_zero_anchors_without_lora_are_refused():
    with pytest.raises(ValueError, match="LoRA's B matrices"):
        outcomes(0.5, anchor="zero")
