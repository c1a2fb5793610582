"""Parameter groups for fine-tuning: with and without anchor, with and without weight decay."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import nn


def param_groups(
    model: nn.Module, *, unanchored: Iterable[str] = (), no_decay: Iterable[str] = (), **options: Any
) -> list[dict[str, Any]]:
    """Split a model's trainable parameters into at most four named groups for the optimizers of `digrap.optim`.

    Args:
        model: the module to train; parameters with requires_grad=False are left out.
        unanchored: names of parameters or modules ("head" covers head.weight and head.bias) that were not
            pre-trained; their group has anchor="none".
        no_decay: names of parameters or modules whose group has weight_decay=0, or "vectors" for every tensor of at
            most one dimension (biases, normalisation layers).
        options: options of every group (lr=…, mu=…).

    Returns groups of named parameters, ready for `DiGraP(param_groups(model))`.
    Raises ValueError for a name that matches no parameter, and for a model without trainable parameters.
    """
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    if not named:
        raise ValueError("param_groups: the model has no parameter with requires_grad=True")
    names = [name for name, _ in model.named_parameters()]
    vectors = no_decay == "vectors"
    free, bare = covered(names, unanchored), set() if vectors else covered(names, no_decay)
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, param in named:
        key = name in free, name in bare or (vectors and param.ndim <= 1)
        if key not in groups:
            groups[key] = {"params": [], **options}
            groups[key] |= ({"anchor": "none"} if key[0] else {}) | ({"weight_decay": 0.0} if key[1] else {})
        groups[key]["params"].append((name, param))
    return [groups[key] for key in sorted(groups)]


def covered(names: list[str], wanted: Iterable[str]) -> set[str]:
    """The parameter names that `wanted`, names of parameters or of modules, refer to. Raises ValueError for an unknown
    name."""
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    found: set[str] = set()
    for want in wanted:
        hits = [name for name in names if name == want or name.startswith(want + ".")]
        if not hits:
            near = difflib.get_close_matches(want, names, n=3, cutoff=0.4) or names[:3]
            raise ValueError(f"param_groups: no parameter or module is called {want!r}; near: {', '.join(near)}")
        found.update(hits)
    return found
