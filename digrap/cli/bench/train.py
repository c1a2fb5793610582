"""A whole training step (forward, backward, optimizer) with every optimizer beside plain AdamW.

    python tools/bench_train.py [model=all batch=4 rounds=15 warmup=2 device=auto threads=0 out=FILE]

Prints a Markdown table for each model: vit_b16 (timm's, random weights), paligemma (LoRA of rank 8 on q, k, v, o of a
transformers PaliGemma with random weights and small widths: 6 + 6 layers of 512 and 288, 224 pixels, 16 tokens of
text), or any image classifier of timm's; model=all takes these two. Pictures are noise. Each optimizer has a model of
its own and takes a step after vanilla's, torch's AdamW as the method vanilla makes it, round by round; a ratio is the
median over the rounds of (whole step / vanilla's whole step). out=FILE.json or FILE.md keeps the tables.
A quick try: model=test_vit batch=1 rounds=1 warmup=0.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from digrap.cli.arguments import bare_keys, check_whole
from digrap.cli.bench.contenders import BASES, RULES
from digrap.cli.bench.output import COMMON, check_common, markdown, place, start, write
from digrap.cli.bench.shapes import CLASSES, RANK, timm_model
from digrap.core.progress import track
from digrap.methods.vanilla import torch_optimizer
from digrap.optim import AnchoredOptimizer

DEFAULTS = {**COMMON, "batch": 4, "rounds": 15, "warmup": 2}
TOKENS = 16  # of the text
COLUMNS = ("optimizer", "implementation", "whole step, × vanilla", "ms", "optimizer's part, %")


@dataclass(frozen=True)
class Trained:
    """A model in training: `loss(count)` is that of a batch of noise; adapters have their anchor at zero."""

    module: nn.Module
    loss: Callable[[int], Tensor]
    anchor: str = "init"

    def params(self) -> list[nn.Parameter]:
        """What trains."""
        return [param for param in self.module.parameters() if param.requires_grad]


@dataclass
class Row:
    """Medians over the rounds: whole step over vanilla's, its milliseconds, the percentage that the optimizer takes."""

    optimizer: str
    implementation: str
    ratio: float
    milliseconds: float
    part: float


def main() -> None:
    """Measure and print."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_common(options)
    check_whole(options, batch=(1, 4096))
    if options.model not in ("all", *MODELS):
        with torch.device("meta"):
            timm_model(options.model, MODELS)  # a wrong name ends here
    plain, texts, device = {}, [], start(options)
    for model in MODELS if options.model == "all" else [options.model]:
        build = MODELS.get(model) or partial(classifier, model)
        rows = table(partial(build, device), options.batch, options.rounds, options.warmup)
        title = f"{model}, batch {options.batch}, float32; {place(device)}; medians of {options.rounds} rounds."
        plain[model] = {"headline": title, "rows": [asdict(row) for row in rows]}
        cells = [[getattr(row, field.name) for field in fields(row)] for row in rows]
        texts.append(markdown(title, COLUMNS, cells, texts=2))
        print(texts[-1], flush=True)
    write(options.out, plain, texts)


def table(build: Callable[[], Trained], batch: int, rounds: int, warmup: int) -> list[Row]:
    """Vanilla's row, that of fused AdamW, and those of the rules, each measured beside vanilla."""
    vanilla = build()
    reference = _vanilla(vanilla.params())
    rows = []
    for name in ("AdamW, fused", *RULES):
        trained = build()
        optimizer = _optimizer(name, trained)
        times = []
        for number in track(range(warmup + rounds), name, unit="rounds"):
            pair = (_step(vanilla, reference, batch, number), _step(trained, optimizer, batch, number))
            times.append(pair)
        pairs = times[warmup:]
        if not rows:
            rows.append(_row("vanilla (AdamW)", "torch's default", [(plain, plain) for plain, _ in pairs]))
        shown = optimizer.implementation if isinstance(optimizer, AnchoredOptimizer) else "fused"
        rows.append(_row(name, shown, pairs))
    return rows


def _optimizer(name: str, trained: Trained) -> Optimizer:
    options = BASES["adamw"].options
    if name not in RULES:
        return torch.optim.AdamW(trained.params(), **options, fused=True)
    return RULES[name].cls(trained.params(), **options, **RULES[name].options, anchor=trained.anchor)


def _vanilla(params: list[nn.Parameter]) -> Optimizer:
    unused = {"betas": (0.9, 0.999), "eps": 1e-8, "momentum": 0.0, "nesterov": False, "anchor": "init"}
    return torch_optimizer(params, base="adamw", **BASES["adamw"].options, **unused)


def _step(trained: Trained, optimizer: Optimizer, batch: int, seed: int) -> tuple[float, float]:
    """Seconds of a whole step and of the optimizer's part in it."""
    torch.manual_seed(seed)
    device = trained.params()[0].device
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    trained.loss(batch).backward()
    wait()
    middle = time.perf_counter()
    optimizer.step()
    wait()
    end = time.perf_counter()
    optimizer.zero_grad()
    return time.perf_counter() - begin, end - middle


def _row(name: str, shown: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> Row:
    median = statistics.median
    return Row(
        name,
        shown,
        ratio=median(own / plain for (plain, _), (own, _) in pairs),
        milliseconds=1e3 * median(own for _, (own, _) in pairs),
        part=100 * median(part / own for _, (own, part) in pairs),
    )


# --- the models ---------------------------------------------------------------------------------------------------


def classifier(model: str, device: torch.device) -> Trained:
    """A classifier of timm's."""
    torch.manual_seed(0)
    module = timm_model(model, MODELS).to(device).train()
    size = module.default_cfg["input_size"]

    def loss(count: int) -> Tensor:
        labels = torch.randint(CLASSES, (count,), device=device)
        return nn.functional.cross_entropy(module(torch.randn(count, *size, device=device)), labels)

    return Trained(module, loss)


def paligemma(device: torch.device) -> Trained:
    """A PaliGemma of small widths with random weights and adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    torch.manual_seed(0)
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 288, "intermediate_size": 1152, "num_hidden_layers": 6,
        "num_attention_heads": 4, "image_size": 224, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    text = {
        "model_type": "gemma", "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 4096,
    }  # fmt: skip
    picture = text["vocab_size"] - 1  # the token in whose place a patch's features come
    config = PaliGemmaConfig(vision_config=vision, text_config=text, projection_dim=512, image_token_index=picture)
    names = ["q_proj", "k_proj", "v_proj", "o_proj"]
    adapted = get_peft_model(PaliGemmaForConditionalGeneration(config), LoraConfig(r=RANK, target_modules=names))
    adapted.to(device).train()
    patches = (224 // 14) ** 2

    def loss(count: int) -> Tensor:
        words = torch.randint(picture, (count, TOKENS), device=device)
        ids = torch.cat([torch.full((count, patches), picture, device=device), words], dim=1)
        prefix = torch.zeros_like(ids)
        prefix[:, -TOKENS // 2 :] = 1  # the answer: seen from left to right
        labels = torch.where(prefix == 1, ids, -100)
        pictures = torch.randn(count, 3, 224, 224, device=device)
        given = {"input_ids": ids, "pixel_values": pictures, "token_type_ids": prefix, "labels": labels}
        return adapted(**given, attention_mask=torch.ones_like(ids)).loss

    return Trained(adapted, loss, anchor="zero")


MODELS: dict[str, Callable[[torch.device], Trained]] = {
    "vit_b16": partial(classifier, "vit_base_patch16_224"),
    "paligemma": paligemma,
}
