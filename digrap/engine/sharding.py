"""Training in shards (trainer.sharding=full): parameters, gradients and optimizer state cut over the ranks by torch's
fully_shard, a transformer block at a time.

What is saved is whole, in the names and places of a run without shards: either kind goes on from the other's
checkpoints. Evaluation holds the whole model on every rank, since ranks answer different numbers of batches.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from digrap.core.errors import DigrapError
from digrap.models.depth import LISTS
from digrap.optim.shards import local, whole

if TYPE_CHECKING:
    from digrap.engine.job import Job

log = logging.getLogger(__name__)


def check_sharding(cfg: DictConfig) -> None:
    """Raise DigrapError for what does not go with trainer.sharding=full."""
    if cfg.trainer.sharding == "none":
        return
    optim, wrong, instead = cfg.optim, None, ""
    if optim.trains and (optim.after_step or optim.after_fit):
        wrong = f"optim={optim.name} changes whole weights after its steps or its fit"
    elif cfg.trainer.precision == "fp16":
        wrong, instead = "trainer.precision=fp16 scales gradients of whole tensors", "give trainer.precision=bf16, or "
    elif cfg.peft.get("name") == "qlora":
        wrong = "peft=qlora keeps weights in 4 bits, which cannot be sharded"
    if wrong:
        raise DigrapError(f"trainer.sharding=full: {wrong}; {instead}leave trainer.sharding out")


def shard(cfg: DictConfig, accelerator: Accelerator, module: nn.Module) -> None:
    """Cut the parameters over the ranks where the config says so, in place and before an optimizer gets them."""
    if cfg.trainer.sharding == "none":
        return
    if accelerator.num_processes == 1:
        log.info("trainer.sharding=full has no effect: there is only one process")
        return
    numbers = {name: param for name, param in module.named_parameters() if param.ndim == 0}
    if trained := [name for name, param in numbers.items() if param.requires_grad]:
        raise DigrapError(
            f"trainer.sharding=full: {trained[0]} is a single number, which cannot be sharded; leave trainer.sharding "
            "out"
        )
    module.to(accelerator.device)
    options = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "ignored_params": set(numbers.values()),
    }
    for block in reversed(list(_blocks(module))):  # inner ones first
        fully_shard(block, **options)
    fully_shard(module, **options)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of every tower of a transformer that have parameters; an outer one before those inside it."""
    for name, owner in module.named_modules():
        if name.rpartition(".")[2] in LISTS:
            yield from (block for block in owner.children() if any(True for _ in block.parameters()))


def prepare(accelerator: Accelerator, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
    """The model and its optimizer as accelerate runs them: as one model in several processes, unless it is cut."""
    if not is_sharded(module):
        return accelerator.prepare(module, optimizer)
    return accelerator.prepare_model(module, evaluation_mode=True), accelerator.prepare_optimizer(optimizer)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` has cut the model."""
    return isinstance(module, FSDPModule)


@contextlib.contextmanager
def unsharded(module: nn.Module) -> Iterator[None]:
    """Hold the whole model on every rank, so that each may call it as often as it likes. All ranks enter and leave."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not parts[0], recurse=False)


def gathered(value: Any, keep: bool) -> Any:
    """A state with whole tensors in place of cut ones, on the CPU; None for these where not `keep`. All ranks call it.
    A state without cut tensors stays as it is."""
    if isinstance(value, dict):
        return {key: gathered(item, keep) for key, item in value.items()}
    if isinstance(value, DTensor):
        full = whole(value.detach())
        return full.cpu() if keep else None
    return value


def saved_tensors(job: Job, optimizer: Optimizer) -> dict[str, Any]:
    """What of a checkpoint is cut: what trains of the model, and the optimizer's state. All ranks call it where it is;
    the first one gets the values."""
    main = job.accelerator.is_main_process
    return {"module": gathered(job.state.get(), main), "optimizer": gathered(optimizer.state_dict(), main)}


def cut_like(value: Tensor, own: Any) -> Tensor:
    """This rank's part of a whole tensor where `own` is cut, as a DTensor; else the tensor."""
    if not isinstance(own, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a whole state into an optimizer, whose parameters may be cut."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    if any(isinstance(param, DTensor) for param in params):
        cut = {
            number: {key: _cut_state(key, value, params[number], optimizer) for key, value in entries.items()}
            for number, entries in state["state"].items()
        }
        state = {**state, "state": cut}
    optimizer.load_state_dict(state)


def _cut_state(key: str, value: Any, param: Tensor, optimizer: Optimizer) -> Any:
    own = optimizer.state.get(param, {}).get(key)
    if own is None and isinstance(value, Tensor) and value.shape == param.shape:  # made by the first step
        own = param
    return cut_like(value, own)


def all_finite(accelerator: Accelerator, module: nn.Module) -> bool:
    """Whether all that trains is finite, on every rank."""
    flags = [local(param.detach()).isfinite().all() for param in module.parameters() if param.requires_grad]
    finite = torch.stack(flags).all()
    if is_sharded(accelerator.unwrap_model(module)):
        finite = accelerator.reduce(finite.float(), reduction="mean") == 1
    return bool(finite)
