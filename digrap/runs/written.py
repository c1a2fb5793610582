"""Names of the files that a run writes into its folder, and of those that a killed start leaves half written."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

ANSWERS = re.compile(r"answers-.+-\d+\.npz")
TOP = re.compile(
    r"config\.yaml|(run|results|data|variants|trace|requeues)\.json|metrics\.jsonl|error\.txt|predictions\.npz|"
    + ANSWERS.pattern
)
OTHERS = (".lock", ".owner.json", "train.log")
WEIGHTS = re.compile(r"(best-epoch-\d{4,}|after-fit)\.safetensors")
STEP = re.compile(r"step-\d{8,}")
STATE = ("state.pt", "manifest.json")
# As core.files.write_atomically, engine.checkpoint.save and runs.lock name them.
_IN_WRITING = "|".join((TOP.pattern, r"owner\.json", WEIGHTS.pattern, *map(re.escape, STATE)))
TEMPORARY = re.compile(rf"\.({_IN_WRITING})\.\w+\.tmp|\.{STEP.pattern}(\.old)?\.tmp")


def kept_answers_file(name: str, rank: int | str) -> str:
    """The file of one process's answers to a split, until the run is done."""
    return f"answers-{name}-{rank}.npz"


def kept_answers(folder: Path, name: str | None = None) -> list[Path]:
    """The files of answers in a folder, of all processes; by default those of every split."""
    wanted = ANSWERS if name is None else re.compile(kept_answers_file(re.escape(name), r"\d+"))
    return sorted(path for path in folder.glob("answers-*.npz") if wanted.fullmatch(path.name))


def is_written(name: str) -> bool:
    """Whether a run writes a file of this path within its folder, finished or in writing."""
    first, *inner = PurePosixPath(name).parts
    if not inner:
        return bool(TOP.fullmatch(first) or TEMPORARY.fullmatch(first)) or first in OTHERS
    if first in ("wandb", "tensorboard"):
        return True
    if first != "checkpoints" or len(inner) > 2:
        return False
    if len(inner) == 1:
        return bool(WEIGHTS.fullmatch(inner[0]) or TEMPORARY.fullmatch(inner[0]))
    folder, file = inner
    checkpoint = STEP.fullmatch(folder.removeprefix(".").removesuffix(".tmp").removesuffix(".old"))
    return bool(checkpoint) and (file in STATE or bool(TEMPORARY.fullmatch(file)))


def foreign(folder: Path) -> list[str]:
    """Files and links in a run's folder that no run writes: notes, an export. Paths within the folder."""
    entries = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    names = [path.relative_to(folder).as_posix() for path in entries]
    return [name for name, path in zip(names, entries, strict=True) if path.is_symlink() or not is_written(name)]
