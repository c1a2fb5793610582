"""Parameters in shards: FSDP2's DTensors, of which every rank holds some rows, and flattened ones (FSDP1, DeepSpeed).

A rule works on the rows of its rank. What it sums over a whole tensor is stacked, one number per tensor, and gathered
from all ranks in one collective, so that every rank computes the same numbers and takes the same decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from digrap.optim.base import AnchoredOptimizer


class Layout(NamedTuple):
    """How the DTensors of a bucket lie: their mesh, its dimension along which dimension 0 is cut (None: nothing is
    cut, every rank holds the whole tensors), and their placements."""

    mesh: Any
    dim: int | None
    placements: tuple[Any, ...]

    def by_rank(self, numbers: Tensor) -> Tensor:
        """The numbers of all ranks that hold the shards: shape (ranks, *shape), in the order of the rows."""
        if self.dim is None:
            return numbers.unsqueeze(0)
        group = self.mesh.get_group(self.dim)
        gathered = numbers.new_empty((self.mesh.size(self.dim) * numbers.numel(),))
        torch.distributed.all_gather_into_tensor(gathered, numbers.flatten(), group=group)
        return gathered.view(-1, *numbers.shape)

    @property
    def rank(self) -> int:
        """The place of this rank's rows among those of `by_rank`."""
        return 0 if self.dim is None else self.mesh.get_local_rank(self.dim)


def layout_of(param: Tensor) -> Layout | None:
    """The layout of a DTensor, None for any other tensor. Raises RuntimeError for one that is cut otherwise than
    fully_shard does it."""
    if not hasattr(param, "device_mesh"):
        return None
    from torch.distributed.tensor import Shard  # already imported by whoever made the DTensor

    cut = [dim for dim, placement in enumerate(param.placements) if not placement.is_replicate()]
    if len(cut) > 1 or any(type(param.placements[dim]) is not Shard or param.placements[dim].dim for dim in cut):
        raise RuntimeError(
            f"its placements are {param.placements}; only DTensors that are cut along dimension 0 over one dimension "
            "of the mesh, as fully_shard cuts them, are supported"
        )
    return Layout(param.device_mesh, cut[0] if cut else None, param.placements)


def checked_layout(optimizer: AnchoredOptimizer, param: Tensor, group: dict[str, Any]) -> Layout | None:
    """The parameter's layout. Raises RuntimeError with its name for shards that the optimizer's rule cannot work on."""
    try:
        layout = layout_of(param)
        if group["anchor"] == "none" or optimizer.shards == "elementwise":
            return layout
        if is_flattened(param):
            raise RuntimeError(
                "FullyShardedDataParallel flattened it, and the sums of the rule need whole tensors; wrap the model "
                "with torch.distributed.fsdp.fully_shard instead"
            )
        if layout is not None and optimizer.shards == "refused":
            raise RuntimeError("it is a DTensor, and the class does not say how its sums run over the ranks (`shards`)")
    except RuntimeError as error:
        raise RuntimeError(f"{type(optimizer).__name__}: parameter {optimizer.names()[param]}: {error}") from None
    return layout


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a DTensor, sharing its memory; any other tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "device_mesh") else tensor


def whole(tensor: Tensor) -> Tensor:
    """A DTensor's values from all ranks, all of which must call this; any other tensor as it is."""
    return tensor.full_tensor() if hasattr(tensor, "device_mesh") else tensor


def local_gradient(param: Tensor, grad: Tensor) -> Tensor:
    """This rank's part of the gradient, cut as its parameter is."""
    if hasattr(grad, "device_mesh") and grad.placements != param.placements:
        grad = grad.redistribute(param.device_mesh, param.placements)
    return local(grad)


def is_flattened(param: Tensor) -> bool:
    """Whether FSDP1 (FullyShardedDataParallel) made the tensor: a piece of memory without its parameter's rows."""
    return getattr(param, "_is_flat_param", False) or getattr(param, "_fsdp_flattened", False)


def check_replaced(optimizer: AnchoredOptimizer, vanished: list[Tensor]) -> None:
    """Raise RuntimeError where vectors stand in the groups in place of the `vanished` tensors, if the rule sums over
    whole tensors: DeepSpeed's ZeRO flattens a group into one vector after the optimizer was made.

    Copies of the same shapes, as master weights in float32 are, may replace tensors, and so may matrices of any shape.
    """
    if not vanished or optimizer.shards == "elementwise":
        return
    shapes = {param.shape for param in vanished}
    fresh = [
        param
        for group in optimizer.param_groups
        for param in group["params"]
        if group["anchor"] != "none" and "step" not in optimizer.state.get(param, {}) and param not in optimizer.writes
    ]
    flat = [param for param in fresh if param.ndim == 1 and param.shape not in shapes]
    had_rows = any(param.ndim > 1 for param in vanished)
    if flat and all(param.ndim < 2 for param in fresh) and (had_rows or len(fresh) < len(vanished)):
        raise RuntimeError(
            f"{type(optimizer).__name__}: parameter {optimizer.names()[flat[0]]} is a vector of {flat[0].numel()} "
            f"elements that a wrapper (such as DeepSpeed's ZeRO) put in place of {len(vanished)} tensors, but the sums "
            "of the rule need whole tensors; shard the model with torch.distributed.fsdp.fully_shard instead, or use "
            "L2SP, which sums nothing"
        )
