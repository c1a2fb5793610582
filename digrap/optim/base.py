"""The base class of the optimizers: anchors, groups, state, checkpoints and the base update.

A rule subclasses `AnchoredOptimizer`. It overrides `adjust_gradients` to change the gradients, or `anchored_update` to
change the parameters after the base update. The base update is torch's own AdamW or SGD, so a rule that changes nothing
equals torch bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary

from digrap.optim.base_update import take_step
from digrap.optim.bucket import Bucket
from digrap.optim.options import OF_BASE, advertise, keep_used, unpickled
from digrap.optim.partition import partition
from digrap.optim.paths import described, kernel
from digrap.optim.state import add_missing, restored, start_state, step_count
from digrap.optim.validate import (
    check_base,
    check_common,
    check_given,
    check_keys,
    check_named,
    check_params,
    given_anchors,
)

BESIDE_THE_UPDATE = {"__init__", "check", "names", "new_state", "omega_report", *vars(Optimizer)}


class Common(TypedDict, total=False):
    """Keyword arguments that every optimizer takes besides its own hyper-parameters; see `AnchoredOptimizer`."""

    base: str
    momentum: float
    nesterov: bool
    anchor: str | list[Tensor]
    foreach: bool | None
    fused: bool | None
    capturable: bool


class AnchoredOptimizer(Optimizer):
    """Base of the optimizers that keep parameters near an anchor θ0.

    Every argument but `params` can be set per group. `base` is "adamw" or "sgd"; a group only has the options of its
    base. `anchor` is "init" (θ0 is the parameter's value when its group is added), "zero" (θ0 = 0, nothing stored),
    "none" (plain base update: a new head) or a list of tensors.

    A frozen parameter, and a lazy module's, has no state before its first gradient; θ0 under "init" is then its value
    at that time, or when a state dict is taken after it was unfrozen. Weights loaded after the optimizer was created do
    not move the anchors; where torch's count of writes and the values show it, a warning says so.

    Raises ValueError for hyper-parameters out of range, anchors of the wrong shape and complex parameters, TypeError
    for an argument that the class does not name; a sparse or complex gradient, a resized parameter, flattened ones and
    given anchors that a wrapper has lost raise RuntimeError in `step`.
    """

    # State entries that are one number per tensor; float32 even where parameters are bfloat16 or float16.
    scalars: tuple[str, ...] = ()
    bounded = False  # whether the rule bounds ‖θ − θ0‖ from the first step on; see `digrap.optim.adapters`
    kernel: str | None = None  # the rule's name in digrap.optim.kernels; None: torch operations alone
    # What the rule does with parameters in shards: "refused"; "summed", over the ranks by `Bucket.total` and `by_rank`;
    # "elementwise", nothing is summed.
    shards: str = "refused"

    def __init_subclass__(cls, **options: Any):
        """A subclass that changes a method of the update loses the kernels of its parent and what was said of shards,
        neither of which knows the change."""
        super().__init_subclass__(**options)
        changed = {name for name, value in vars(cls).items() if callable(value) and hasattr(cls.__base__, name)}
        if changed - BESIDE_THE_UPDATE:
            cls.kernel = vars(cls).get("kernel")
            cls.shards = vars(cls).get("shards", "refused")

    def __init__(
        self,
        params: Iterable,
        lr: float | Tensor,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        *,
        base: str = "adamw",
        momentum: float = 0.0,
        nesterov: bool = False,
        anchor: str | list[Tensor] = "init",
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        **symbols: Any,
    ):
        check_named(type(self), symbols)
        given = None if isinstance(anchor, str) else given_anchors(anchor)
        defaults = dict(
            lr=lr, weight_decay=weight_decay, base=base, anchor=anchor if given is None else "init", foreach=foreach,
            fused=fused, capturable=capturable, **symbols,
        )  # fmt: skip
        self.of_base = dict(betas=betas, eps=eps, momentum=momentum, nesterov=nesterov)  # `defaults` has those in use
        # {parameter without a step: torch's count of writes to it when it was added}
        self.writes = WeakTensorKeyDictionary()
        if given is not None:
            params = _with_given_anchors(params, given)
        super().__init__(params, defaults)
        check_base(self.of_base, {base, *(group["base"] for group in self.param_groups)}, OF_BASE)

    # --- groups -------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and take its parameters' anchors. Raises ValueError for what the class refuses."""
        copied = dict(param_group) if isinstance(param_group, dict) else param_group  # a list of groups may serve again
        given_options = dict(copied) if isinstance(copied, dict) else {}
        check_keys(given_options, self.defaults.keys() | self.of_base.keys())
        super().add_param_group(copied)
        group = self.param_groups[-1]
        for key, value in self.of_base.items():
            group.setdefault(key, value)
        bounded_anchor = group.pop("bounded_anchor", group["anchor"])
        if self.bounded:
            group["anchor"] = bounded_anchor
        try:
            given = group["anchor"]
            check_common(group)
            check_base(given_options, {group["base"]}, OF_BASE)
            self.check(group)
            if not isinstance(given, str):
                given, group["anchor"] = given_anchors(given), "given"
                check_given(group["params"], given, group.get("param_names"))
            else:
                given = [None] * len(group["params"])
            check_params(group["params"])
        except (ValueError, RuntimeError):
            self.param_groups.pop()  # a refused group leaves the optimizer as it was
            raise
        keep_used(group)
        advertise(self)
        start_state(self, group, given)

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where one of the rule's own hyper-parameters is out of range."""

    # --- state --------------------------------------------------------------------------------------------------

    def new_state(self, param: Tensor, group: dict[str, Any], anchor: Tensor | None = None) -> dict[str, Any]:
        """All of a parameter's state before its first step.

        The anchor and the rest are created together because torch's distributed checkpoint skips its initial step when
        any state exists, and would then not load the entries that are missing.
        """
        state: dict[str, Any] = {"step": step_count(param, group)}
        if group["base"] == "adamw":
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        elif group["momentum"]:
            state["momentum_buffer"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        if group["anchor"] in ("init", "given"):
            value = param if anchor is None else anchor
            state["anchor"] = torch.empty_like(param, memory_format=torch.preserve_format).copy_(value.detach())
        return state

    def state_dict(self) -> dict[str, Any]:
        """Torch's state dict, with an entry for every parameter that trains."""
        add_missing(self)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load as torch does. What the state dict of another optimizer (torch's AdamW or SGD) or of an older version
        lacks stays as this optimizer has it: options of the groups, and anchors; see `digrap.optim.state.completed`."""
        with restored(self):
            super().load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"of_base": self.of_base}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        vars(self).setdefault("writes", WeakTensorKeyDictionary())
        unpickled(self)
        for group in self.param_groups:
            for param in group["params"]:
                step = self.state.get(param, {}).get("step")
                if isinstance(step, (int, float)):  # as torch's optimizers once saved it
                    self.state[param]["step"] = step_count(param, group, step)

    # --- the step -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one optimization step. `closure`, if given, re-evaluates the model and returns the loss, which is
        returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for bucket in partition(self, group):
                self.take(bucket)
        return loss

    @property
    def implementation(self) -> str:
        """The implementation that a step takes, as "native"; several with their numbers of tensors."""
        return described(self)

    def take(self, bucket: Bucket) -> None:
        """Take one step for a bucket, by the implementation that was chosen for it."""
        if bucket.group["anchor"] == "none":
            self.plain_update(bucket)
        elif fast := kernel(bucket.path):
            fast(self, bucket)
        else:
            self.anchored_update(bucket)
        if bucket.fused:  # a backward pass that needs the parameters of before the step must fail
            torch.autograd.graph.increment_version(bucket.params)

    def anchored_update(self, bucket: Bucket) -> None:
        """Take one step for a bucket with anchors: adjusted gradients, then the base update, part by part."""
        bucket.plan = self.plan(bucket)
        for part in bucket.parts():
            self.base_update(part, self.adjust_gradients(part))

    def plan(self, bucket: Bucket) -> Tensor | None:
        """What the rule sums over whole tensors, taken for a whole bucket (and all ranks) before its first part is
        updated: one number per tensor, which `adjust_gradients` finds as `bucket.plan`. None: nothing is summed."""
        return None

    def adjust_gradients(self, bucket: Bucket) -> list[Tensor]:
        """The gradients g' of the rule for a bucket or a part of one; the bucket's own are left unchanged."""
        return bucket.grads

    def plain_update(self, bucket: Bucket) -> None:
        """Take one step of the base with the bucket's own gradients, part by part."""
        for part in bucket.parts():
            self.base_update(part, part.grads)

    def base_update(self, bucket: Bucket, grads: list[Tensor]) -> None:
        """Take one step of torch's AdamW or SGD with `grads`, in place."""
        take_step(bucket, grads)

    def displacement(self, bucket: Bucket, out: list[Tensor] | None = None) -> list[Tensor]:
        """δ = θ − θ0, one tensor per parameter, written to `out` if given. Read-only: it may alias the parameters."""
        zero = bucket.group["anchor"] == "zero"
        if out is None:
            params = [param.detach() for param in bucket.params]
            return params if zero else list(torch._foreach_sub(params, bucket.gather("anchor")))
        torch._foreach_copy_(out, bucket.params)
        if not zero:
            torch._foreach_sub_(out, bucket.gather("anchor"))
        return out

    def names(self) -> dict[Tensor, str]:
        """{parameter: name}; the name comes from named_parameters() if those were passed, else it is "group.index"."""
        return {
            param: group["param_names"][i] if "param_names" in group else f"{g}.{i}"
            for g, group in enumerate(self.param_groups)
            for i, param in enumerate(group["params"])
        }


def _with_given_anchors(params: Iterable, anchors: list[Tensor]) -> list[dict[str, Any]]:
    """One group that holds the anchors, so that they do not become defaults of later groups."""
    params = list(params)
    if params and isinstance(params[0], dict):
        raise ValueError("anchor: with parameter groups, give each group its own list of tensors under 'anchor'")
    return [{"params": params, "anchor": anchors}]
