"""Step time and memory of every optimizer beside torch's fused AdamW, measured in one run.

    python tools/bench_optim.py [model=vit_small_patch16_224 device=auto steps=30 threads=0 dtype=float32 base=adamw]

Prints a Markdown table: torch's fused, foreach and default implementations (the default is a loop on a CPU, foreach on
a GPU), then ours with their defaults. Columns: the median over `steps` rounds of (step time / fused step time of the
same round), and the optimizer's state in bytes a byte of parameters; the line above has the fused one's own time.
Rounds go over all optimizers in turn, so that a busy machine slows them alike. The model (any of timm's) gives the
shapes; gradients are random.
"""

import statistics
import sys
import time

import timm
import torch

from digrap.cli.arguments import bare_keys
from digrap.cli.door import door
from digrap.core.errors import DigrapError
from digrap.core.progress import track
from digrap.optim import FTP, L2SP, MARSSP, SPD, DiGraP

DEFAULTS = {
    "model": "vit_small_patch16_224",
    "device": "auto",
    "steps": 30,
    "warmup": 5,
    "threads": 0,  # 0: torch's own choice
    "dtype": "float32",
    "base": "adamw",
}
RULES = {
    "L2-SP": (L2SP, {"lam": 0.01}),
    "MARS-SP": (MARSSP, {"lam": 0.01}),
    "SPD": (SPD, {"strength": 0.5}),
    "FTP": (FTP, {}),
    "DiGraP": (DiGraP, {}),
    "DiGraP, ω fixed": (DiGraP, {"omega": 1.0}),
}


def shapes_of(model: str) -> list[torch.Size]:
    """The parameter shapes of a timm model, which is not filled. Raises DigrapError for an unknown one."""
    try:
        with torch.device("meta"):
            return [param.shape for param in timm.create_model(model).parameters()]
    except RuntimeError as error:
        raise DigrapError(f"model={model}: {error}; `timm.list_models()` names them") from error


def contenders(options) -> dict[str, torch.optim.Optimizer]:
    """Every optimizer over its own copy of the parameters, torch's fused and foreach ones first."""
    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    dtype, shapes = getattr(torch, options.dtype), shapes_of(options.model)
    plain = {
        "adamw": (torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 0.01}),
        "sgd": (torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    }
    if options.base not in plain:
        raise DigrapError(f"base={options.base}: choose one of {', '.join(plain)}")
    cls, common = plain[options.base]
    made = {
        f"{cls.__name__}, fused": (cls, {**common, "fused": True}),
        f"{cls.__name__}, foreach": (cls, {**common, "foreach": True}),
        f"{cls.__name__}, default": (cls, common),
    }
    made |= {name: (rule, {**common, "base": options.base, **symbols}) for name, (rule, symbols) in RULES.items()}
    result = {}
    for name, (rule, arguments) in made.items():
        generator = torch.Generator(device).manual_seed(0)
        params = [
            torch.nn.Parameter(torch.randn(shape, generator=generator, device=device).mul_(0.02).to(dtype))
            for shape in shapes
        ]
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator, device=device).mul_(1e-3).to(dtype)
        result[name] = rule(params, **arguments)
    return result


def timed(optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one step, the device's work included."""
    cuda = optimizer.param_groups[0]["params"][0].is_cuda
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    optimizer.step()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def state_bytes(optimizer: torch.optim.Optimizer) -> float:
    """Bytes of state a byte of parameters."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return sum(map(_bytes, tensors)) / sum(map(_bytes, params))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def main() -> None:
    """Measure and print."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    if options.threads:
        torch.set_num_threads(options.threads)
    optimizers = contenders(options)
    reference = next(iter(optimizers))
    rounds = [
        {name: timed(optimizer) for name, optimizer in optimizers.items()}
        for _ in track(range(options.warmup + options.steps), "rounds")
    ][options.warmup :]
    first = optimizers[reference].param_groups[0]["params"]
    where = torch.cuda.get_device_name() if first[0].is_cuda else f"CPU, {torch.get_num_threads()} threads"
    count = sum(param.numel() for param in first)
    milliseconds = 1e3 * statistics.median(times[reference] for times in rounds)
    print(f"{options.model}, {count / 1e6:.1f} M parameters in {len(first)} tensors, {options.dtype}; {where}; torch")
    print(f"{torch.__version__}; {reference}: {milliseconds:.1f} ms a step (median of {options.steps}).\n")
    print("| optimizer | step time, × fused | state, × parameters |\n| --- | ---: | ---: |")
    for name, optimizer in optimizers.items():
        ratio = statistics.median(times[name] / times[reference] for times in rounds)
        print(f"| {name} | {ratio:.2f} | {state_bytes(optimizer):.2f} |")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
