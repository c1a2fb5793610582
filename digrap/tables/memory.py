"""The memory that runs of PaliGemma and LLaVA take on a GPU, from shapes, and what fits on which card.

Counted: weights; gradients and optimizer state of what trains; what a step keeps for its backward pass, with memory-
efficient attention, and again the largest layer and twice the logits for what is computed on the way; in tests the
cache of all beams. Not counted: the driver, fragments, copies of several GPUs, a second model (ClipMatch); a tenth of
the card is left for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from digrap.config.compose import start_config
from digrap.config.schema import DECODINGS
from digrap.tables.changes import set_by_rows
from digrap.tables.spec import Cell, Table
from digrap.tables.vlm_shapes import HALF, SINGLE, Shapes, shapes_of_model

ADVISED = ("trainer.micro_batch", "trainer.eval_batch_size", "backbone.gradient_checkpointing")
CARDS, USABLE = (16, 24, 48, 80), 0.9  # GB, and the share of them that is planned with
TEXT, ANSWER = 34, 6  # tokens of a prompt with its answer, and those of them that get logits
VLM = "digrap.models.hf_vlm.hf_vlm"
VANILLA = "digrap.methods.vanilla.torch_optimizer"
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS = {"authors": QKVO, "card": (*QKVO, "out_proj"), "language": QKVO}  # as digrap.models.lora_layers has them
# Tensors of a parameter's size that an optimizer keeps beside the moments and the anchor.
OWN = {VANILLA: 0, "digrap.optim.DiGraP": 1, "digrap.optim.FTP": 1, "digrap.optim.SPD": 0, "digrap.optim.L2SP": 0,
       "digrap.optim.MARSSP": 0}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """Bytes of a run: `weights`, `state` (gradients and optimizer state), an example of a step without and with
    gradient checkpointing (None: nothing trains), and one of a test."""

    weights: int
    state: int
    example: int | None
    checkpointed: int | None
    tested: int
    micro: int
    tests: int  # examples of a test's batch
    checkpoints: bool

    def step(self, micro: int, checkpoints: bool) -> int:
        """Bytes of a training step of `micro` examples."""
        return self.weights + self.state + micro * ((self.checkpointed if checkpoints else self.example) or 0)

    def test(self, batch: int) -> int:
        """Bytes of a test in batches of `batch` questions; the optimizer's state is there too."""
        return self.weights + self.state + batch * self.tested

    def fits(self, card: int) -> str:
        """How the run fits on a card of so many GB: "yes", what to change, or "no"."""
        limit = USABLE * card * 1e9
        tests = next((batch for batch in _divisors(self.tests) if self.test(batch) <= limit), None)
        changes = [] if tests == self.tests else [f"test {tests}"]
        if self.example is not None:
            ways = [(micro, how) for micro in _divisors(self.micro) for how in sorted({self.checkpoints, True})]
            found = next(((micro, how) for micro, how in ways if self.step(micro, how) <= limit), None)
            if found is None:
                return "no"
            micro, how = found
            changes += [f"micro {micro}"] * (micro != self.micro) + ["ckpt"] * (how != self.checkpoints)
        return "no" if tests is None else ", ".join(changes) or "yes"


def need(cfg: DictConfig) -> Need | str:
    """What a run takes, or why that is not computed."""
    shapes, own, trains = shapes_of_model(str(cfg.backbone.model)), cfg.peft.name == "lora", cfg.optim.trains
    target = cfg.optim.optimizer and cfg.optim.optimizer.get("_target_")
    for reason, bad in {
        f"backbone.model={cfg.backbone.model} is neither PaliGemma nor LLaVA, or is not available": not shapes,
        f"backbone.dtype={cfg.backbone.dtype}": cfg.backbone.dtype not in ("bf16", "fp16"),
        f"peft={cfg.peft.name}": cfg.peft.name not in ("lora", "none"),
        f"trainer.precision={cfg.trainer.precision}": cfg.trainer.precision != "no",
        f"trainer.sharding={cfg.trainer.sharding}": cfg.trainer.sharding != "none",
        f"optim={cfg.optim.name}": trains not in (None, "all", "head") or (trains and target not in OWN),
    }.items():
        if bad:
            return reason
    adapted = None
    if own:
        named = cfg.peft.targets
        names = TARGETS.get(named, (named,)) if isinstance(named, str) else tuple(named)
        adapted = shapes.adapted(names, named == "language")
    adapters = shapes.adapters(adapted, cfg.peft.r) if adapted is not None else 0
    start = start_config(cfg)
    probed = "head" in (trains, start and start.optim.trains)  # a tied head gets a copy of its own then
    parameters = shapes.parameters() + shapes.head * (probed and shapes.tied)
    weights = HALF * parameters + SINGLE * adapters
    length = shapes.vision.patches + TEXT
    scored = length if cfg.trainer.loss_on == "all" else ANSWER
    kept = shapes.kept(length, scored, adapted, cfg.peft.get("r", 0))
    way, beams = kept["layer"] + 3 * kept["logits"], DECODINGS[cfg.trainer.decoding]
    cache = beams["beams"] * shapes.cache(length + beams["max_new_tokens"])
    reached = trains == "all"
    return Need(
        weights=weights,
        state=_trained(shapes, trains, parameters, adapters) * (1 + tensors(cfg)) if trains else 0,
        example=way + kept["layers"] * reached if trains else None,
        checkpointed=way + (kept["inputs"] + kept["layer"]) * reached if trains else None,
        tested=cache + kept["layer"],
        micro=min(cfg.trainer.micro_batch, cfg.trainer.batch_size),
        tests=cfg.trainer.eval_batch_size,
        checkpoints=bool(cfg.backbone.gradient_checkpointing),
    )


def tensors(cfg: DictConfig) -> int:
    """Tensors of a trained parameter's size that its optimizer keeps."""
    target, base = cfg.optim.optimizer._target_, cfg.trainer.base
    moments = 2 if base.name == "adamw" else int(base.momentum > 0)
    return moments + OWN[target] + (target != VANILLA and cfg.peft.anchor == "init")


def _trained(shapes: Shapes, trains: str, parameters: int, adapters: int) -> int:
    """Bytes of what trains, of the model's `parameters`."""
    if trains == "head":
        return HALF * shapes.head
    return SINGLE * adapters if adapters else HALF * (parameters - shapes.unused())


def memory_lines(table: Table, cells: Iterable[Cell]) -> Iterator[str]:
    """What each row of the table takes and where it fits, as text: nothing for other models than transformers'.

    `cells` are runs that are composed already; a row without one is composed with the first point of its grid.
    """
    groups: dict[Need | str, list[str]] = {}
    known = {cell.row: cell for cell in reversed(list(cells))}
    for label, row in table.rows.items():
        cfg = (known.get(label) or table.cell(label, table.seeds[0], row.choices()[0])).config
        if cfg.backbone._target_ == VLM:
            groups.setdefault(need(cfg), []).append(label)
    computed = {found: labels for found, labels in groups.items() if isinstance(found, Need)}
    if computed:
        heads = "".join(f"{f'{card} GB':<24}" for card in CARDS).rstrip()
        yield "Memory of one GPU in GB, computed from tensor shapes (see docs/vlm.md), and what fits on which GPU:"
        yield f"  {'weights':>7} {'state':>6} {'step':>6} {'test':>6}  {heads}"
        for found, labels in computed.items():
            yield from (_line(found), f"          {', '.join(_short(table, labels))}")
        yield "  step and test: with the table's batches, state included. micro n: trainer.micro_batch=n fits;"
        yield "  ckpt: backbone.gradient_checkpointing=true; test n: trainer.eval_batch_size=n. A run's hash holds the"
        yield "  first two: give them to status.py and make_tables.py too."
        if own := set_by_rows(table).intersection(ADVISED):
            file = table.own_file or f"configs/tables/{table.name}.yaml"
            yield f"  The rows set {' and '.join(sorted(own))} themselves: change it in {file}."
    for reason, labels in groups.items():
        if isinstance(reason, str):
            yield f"Memory of {', '.join(_short(table, labels))}: not computed ({reason})."


def _line(found: Need) -> str:
    step = "-" if found.example is None else f"{found.step(found.micro, found.checkpoints) / 1e9:.1f}"
    numbers = f"{found.weights / 1e9:7.1f} {found.state / 1e9:6.2f} {step:>6} {found.test(found.tests) / 1e9:6.1f}"
    return f"  {numbers}  " + "".join(f"{found.fits(card):<24}" for card in CARDS).rstrip()


def _short(table: Table, labels: list[str]) -> Iterator[str]:
    """The labels, those of rows that all blocks have here without the block's name."""
    for own, count in Counter(table.rows[label].own_label for label in labels).items():
        whole = [row.label for row in table.rows.values() if row.own_label == own]
        if count == len(whole):
            yield own
        else:
            yield from (label for label in whole if label in labels)


def _divisors(number: int) -> list[int]:
    """Those of a number, the largest first."""
    return [k for k in range(number, 0, -1) if number % k == 0]
