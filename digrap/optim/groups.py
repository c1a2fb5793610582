"""Parameter groups for fine-tuning: with and without anchor, with and without weight decay."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from digrap.optim.adapters import NEW, RANDOM, ZERO, adapter_options

KINDS = ({}, {"anchor": "init"}, ZERO, RANDOM, NEW)  # options about the anchor, in the order of the groups


def param_groups(
    model: nn.Module,
    *,
    unanchored: Iterable[str] = (),
    no_decay: Iterable[str] = (),
    peft: bool | None = None,
    anchors: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into named groups for the optimizers of `digrap.optim`.

    Args:
        model: the module to train; parameters with requires_grad=False are left out.
        unanchored: names of parameters or modules ("head" covers head.weight and head.bias) that were not
            pre-trained; their group has anchor="none".
        no_decay: names of parameters or modules whose group has weight_decay=0, or "vectors" for every tensor of at
            most one dimension (biases, normalisation layers).
        peft: True: the model has peft adapters, and each kind of parameter gets the anchor that it needs; see
            `digrap.optim.adapters`. False: they are parameters like any other. None: the same, with a warning.
        anchors: θ0 by parameter name, for a model that is no longer at its pre-trained weights (a second fit, or
            training resumed without the optimizer's state). Names of parameters that do not train are ignored.
        options: options of every group (lr=…, mu=…).

    Returns groups of named parameters, ready for `DiGraP(param_groups(model))`.
    Raises ValueError for a name that matches no parameter, for a model without trainable parameters, and where
    `anchors` lacks a parameter whose anchor would then be its present value.
    """
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    if not named:
        raise ValueError("param_groups: the model has no parameter with requires_grad=True")
    if peft is None and any(getattr(module, "peft_config", None) for module in model.modules()):
        warnings.warn(
            "param_groups: the model has peft adapters; peft=True gives each kind its anchor (LoRA's is zero), "
            "peft=False anchors them at their present values",
            stacklevel=2,
        )
    names = [name for name, _ in model.named_parameters()]
    vectors = no_decay == "vectors"
    free, bare = covered(names, unanchored), set() if vectors else covered(names, no_decay)
    special, plain = (adapter_options(model), {"anchor": "init"}) if peft else ({}, {})
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, param in named:
        kind = NEW if name in free else special.get(param, plain)
        key = KINDS.index(kind), name in bare or (vectors and param.ndim <= 1)
        if key not in groups:
            groups[key] = {"params": [], **options, **kind, **({"weight_decay": 0.0} if key[1] else {})}
        groups[key]["params"].append((name, param))
    if anchors is not None:
        for group in groups.values():
            _give(group, anchors)
    return [groups[key] for key in sorted(groups)]


def _give(group: dict[str, Any], anchors: Mapping[str, Tensor]) -> None:
    """Put the given anchors into the group in place of the parameters' present values. Raises ValueError where they
    lack one."""
    names = [name for name, _ in group["params"]]
    given = [anchors[name] for name in names if name in anchors]
    if "bounded_anchor" in group:
        group["bounded_anchor"] = given  # if one is missing, the rule that needs it says so
    elif group.get("anchor", "init") == "init":
        if missing := [name for name in names if name not in anchors]:
            raise ValueError(
                f"param_groups: anchors has no value for {len(missing)} parameters, such as {missing[0]!r}; add them, "
                "or name what was not pre-trained in unanchored"
            )
        group["anchor"] = given


def covered(names: list[str], wanted: Iterable[str]) -> set[str]:
    """The parameter names that `wanted`, names of parameters or of modules, refer to. Raises ValueError for an unknown
    name."""
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    found: set[str] = set()
    for want in wanted:
        if not isinstance(want, str):
            raise ValueError(f"param_groups: a {type(want).__name__} was given; give names of parameters or modules")
        hits = [name for name in names if name == want or name.startswith(want + ".")]
        if not hits:
            near = _near(want, names) or names[:3]
            raise ValueError(f"param_groups: no parameter or module is called {want!r}; near: {', '.join(near)}")
        found.update(hits)
    return found


def _near(want: str, names: list[str]) -> list[str]:
    """Up to three names of parameters and modules most like `want`; those that end with it come first, as wrappers put
    prefixes before names."""
    places = dict.fromkeys(".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2))
    ending = [place for place in places if place.endswith(f".{want}")]
    return (ending or difflib.get_close_matches(want, places, n=3, cutoff=0.4))[:3]
