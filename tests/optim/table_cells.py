"""What each rule does in each way in which AdamW is used: the cells of the table in docs/methods.md.

A cell is "right" (equal to the float64 reference, or to the plain loop), "refused" (with a sentence), or "caveat n",
where n is a note under the table. `test_table.py` asserts each of them, and that the document has this table.
"""

from typing import NamedTuple

RULES = {"DiGraP": "DiGraP", "L2SP": "L2-SP", "MARSSP": "MARS-SP", "SPD": "SPD", "FTP": "FTP"}
WAYS = {
    "AdamW": '`base="adamw"`',
    "SGD": '`base="sgd"`',
    "LoRA": "LoRA, `peft=True`",
    "DoRA": "DoRA, `peft=True`",
    "IA3": "IA3, `peft=True`",
    "bf16": "parameters in bfloat16",
    "FSDP1": "FSDP1, `FullyShardedDataParallel`",
    "FSDP2": "FSDP2, `fully_shard`",
    "compile": "`torch.compile(optimizer.step)`",
    "GradScaler": "`torch.amp.GradScaler`",
    "Trainer": "Hugging Face's Trainer",
    "Lightning": "Lightning",
    "accelerate": "accelerate",
}
OTHERWISE = {
    ("FTP", "LoRA"): "caveat 1",
    ("FTP", "DoRA"): "caveat 1",
    **{(rule, "bf16"): "caveat 2" for rule in ("DiGraP", "MARSSP", "FTP")},
    **{(rule, "FSDP1"): "refused" for rule in ("DiGraP", "MARSSP", "SPD", "FTP")},
    ("DiGraP", "FSDP2"): "caveat 3",
}


class Cell(NamedTuple):
    """A rule (the class's name in digrap.optim), a way, and what the table says."""

    rule: str
    way: str
    verdict: str


CELLS = [Cell(rule, way, OTHERWISE.get((rule, way), "right")) for rule in RULES for way in WAYS]


def as_markdown() -> str:
    """The table, a line for each way."""
    found = {cell[:2]: cell.verdict for cell in CELLS}
    lines = [["", *RULES.values()], ["---"] * (1 + len(RULES))]
    lines += [[said, *(found[rule, way] for rule in RULES)] for way, said in WAYS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
