"""OptimizerInfo entries of our optimizers, in the form that torch's own optimizer tests use."""

import pytest
import torch
from torch.nn import Parameter
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerErrorEnum,
    OptimizerInfo,
    OptimizerInput,
    get_error_inputs_for_all_optims,
)

from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP


def _inputs(*extra):
    """The optim_inputs_func of OptimizerInfo: options common to all classes, and the rule's own."""
    common = [
        ({}, "default"),
        ({"lr": 0.01}, "lr"),
        ({"lr": torch.tensor(0.001)}, "Tensor lr"),
        ({"weight_decay": 0.1}, "weight decay"),
        ({"betas": (0.8, 0.95), "eps": 1e-6}, "betas and eps"),
        ({"base": "sgd", "lr": 0.01}, "sgd"),
        ({"base": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, "nesterov"),
        ({"anchor": "zero"}, "zero anchor"),
        ({"anchor": "none"}, "no anchor"),
    ]

    def make(device, dtype=None):
        return [OptimizerInput(params=None, kwargs=dict(kwargs), desc=desc) for kwargs, desc in (*common, *extra)]

    return make


def _errors(*extra):
    """The optim_error_inputs_func: errors common to all classes, and the rule's own, as (kwargs, type, message)."""
    common = [
        ({"lr": -1e-2}, ValueError, "Invalid learning rate: lr=-0.01"),
        ({"lr": float("nan")}, ValueError, "Invalid learning rate"),
        ({"weight_decay": "abc"}, ValueError, "weight_decay='abc' is not a number"),
        ({"eps": -1.0}, ValueError, "Invalid eps"),
        ({"weight_decay": -1.0}, ValueError, "Invalid weight_decay"),
        ({"betas": (1.0, 0.0)}, ValueError, "Invalid beta parameter at index 0: 1.0"),
        ({"momentum": -0.5, "base": "sgd"}, ValueError, "Invalid momentum"),
        ({"nesterov": True, "base": "sgd"}, ValueError, "Nesterov momentum requires a momentum"),
        ({"base": "adam"}, ValueError, "base='adam' is not one of 'adamw', 'sgd'"),
        ({"anchor": "start"}, ValueError, "anchor='start' is not one of 'init', 'zero', 'none'"),
        ({"anchor": "given"}, ValueError, "anchor='given' is not one of"),
        ({"anchor": [torch.zeros(3)]}, ValueError, r"anchor 0 has shape \(3,\) but its parameter has \(2, 3\)"),
        ({"anchor": None}, ValueError, "anchor is a NoneType; give 'init', 'zero', 'none' or a list of tensors"),
        ({"anchor": torch.zeros(2, 3)}, ValueError, "anchor is a Tensor; give"),
        (
            {"anchor": {"weight": torch.zeros(2, 3)}},
            ValueError,
            r"anchor is a dict; .* param_groups\(model, anchors=…\)",
        ),
        ({"anchor": [None]}, ValueError, "anchor 0 is a NoneType, not a tensor"),
        ({"anchor": []}, ValueError, "0 tensors were given for 1 parameters"),
        ({"lr": torch.tensor(0.001), "foreach": True}, ValueError, "lr as a Tensor"),
    ]

    def make(device, dtype):
        result = get_error_inputs_for_all_optims(device, dtype)
        for kwargs, kind, message in (*common, *extra):
            given = OptimizerInput(params=[Parameter(torch.zeros(2, 3))], kwargs=kwargs, desc=message)
            result.append(ErrorOptimizerInput(given, error_type=kind, error_regex=message))
        whole = OptimizerInput(
            params=[Parameter(torch.zeros(2, 3, dtype=torch.complex64))], kwargs={}, desc="complex parameter"
        )
        result.append(ErrorOptimizerInput(whole, error_type=ValueError, error_regex="only real floating point"))
        param = Parameter(torch.zeros(3, 3))
        param.grad = torch.eye(3).to_sparse()
        at_step = OptimizerInput(params=[param], kwargs={}, desc="sparse gradient")
        result.append(
            ErrorOptimizerInput(
                at_step, error_on=OptimizerErrorEnum.STEP_ERROR, error_type=RuntimeError, error_regex="sparse gradients"
            )
        )
        return result

    return make


def _info(cls, inputs, errors):
    return OptimizerInfo(
        cls,
        optim_inputs_func=_inputs(*inputs),
        optim_error_inputs_func=_errors(*((kwargs, ValueError, message) for kwargs, message in errors)),
        supported_impls=("foreach",),
        supports_complex=False,
    )


INFOS = [
    _info(
        DiGraP,
        [
            ({"lam": 0.2}, "lam"),
            ({"omega": 0.7}, "fixed omega"),
            ({"rule": "listing", "normalize": "tensor"}, "listing, tensor"),
            ({"normalize": "none", "mu": 0.5}, "normalize none"),
        ],
        [
            ({"mu": -0.1}, "Invalid mu: mu=-0.1"),
            ({"lam": -0.1}, "Invalid lam: lam=-0.1"),
            ({"omega_max": -1.0}, "Invalid omega_max"),
            ({"omega": 1.5}, r"omega=1.5 is outside \[0, omega_max=1.0\]"),
            ({"rule": "conflicts"}, "rule='conflicts' is not one of 'conflict', 'listing'"),
            ({"normalize": "row"}, "normalize='row' is not one of 'rows', 'tensor', 'none'"),
        ],
    ),
    _info(L2SP, [({"lam": 0.2}, "lam")], [({"lam": -0.1}, "Invalid lam: lam=-0.1")]),
    _info(MARSSP, [({"lam": 0.2}, "lam")], [({"lam": -0.1}, "Invalid lam: lam=-0.1")]),
    _info(SPD, [({"strength": 1.0}, "strength")], [({"strength": -0.1}, "Invalid strength: strength=-0.1")]),
    _info(
        FTP,
        [({"k": 0.5, "mu": 0.1}, "k and mu"), ({"k": 0.0}, "k 0")],
        [({"mu": -0.1}, "Invalid mu: mu=-0.1"), ({"k": 1.5}, r"k=1.5 is outside \[0, 1\]")],
    ),
]

EVERY = [pytest.param(info, id=info.name) for info in INFOS]
WAYS = [  # every class with each of its option sets
    pytest.param(info, given.kwargs, id=f"{info.name}-{given.desc}")
    for info in INFOS
    for given in info.optim_inputs_func(device="cpu")
]
