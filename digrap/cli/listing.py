"""`python train.py --help` and `--list [methods|datasets|…]`: commands, options and choices. Imports no library."""

from __future__ import annotations

import re
import sys

from digrap.cli.closed_pipe import closed_pipe
from digrap.config.choices import GROUPS, choices
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS

COMMANDS = {
    "train": """\
python train.py [group=choice] [key=value] …    fine-tune; the same command resumes an interrupted run

  python train.py                                          DiGraP on the miniature, which needs no download
  python train.py optim=vanilla trainer.base.lr=3e-4 seed=1
  python train.py trainer.smoke=true                       a few steps of every stage, to try before a long run
  python train.py dataset=folder dataset.root=/my/pictures dataset.near_ood=[sketch] backbone.model=resnet50
  python train.py -m optim=vanilla,digrap seed=0,1         a sweep; ends with a ranking
  python train.py -m table=mini dry_run=true               the runs that a table still needs, and their cost
  python train.py optim=digrap --cfg job                   prints the whole config and runs nothing
  python train.py --list methods                           one of the lists below
  python train.py --hydra-help                             Hydra's own options""",
    "evaluate": """\
python evaluate.py run=RUN [key=value] …    score a finished run, or a backbone as it is

  python evaluate.py run=latest                            every split except the training split
  python evaluate.py run=<hash> split=real,sketch          some splits; out=FILE adds per-class scores and confusions
  python evaluate.py run=<hash> dataset=folder dataset.root=/my/pictures     other data of the run's classes
  python evaluate.py dataset=minidomainnet backbone=mini_resnet              a backbone with its own head
  python evaluate.py --hydra-help                          Hydra's own options""",
}


def answered(door: str, arguments: list[str]) -> int | None:
    """Answer --help and --list for train.py or evaluate.py, before Hydra is imported. Returns the exit code, None where
    neither was asked for."""
    try:
        if {"-h", "--help"} & set(arguments):
            print(help_of(door), flush=True)
            return 0
        return print_lists(arguments) if "--list" in arguments else None
    except BrokenPipeError:
        return closed_pipe()


def help_of(door: str) -> str:
    """Return a door's commands, the options in its config, and every choice, as the config files describe them."""
    options = _options((CONFIGS / f"{door}.yaml").read_text(encoding="utf-8"))
    lists = ["datasets", "backbones", "peft"]
    if door == "train":
        options += _options((CONFIGS / "trainer" / "_base.yaml").read_text(encoding="utf-8"), "trainer.")
        lists = list(GROUPS)
    listed = (described(name, f"python {door}.py") for name in lists)
    return "\n\n".join([COMMANDS[door], "\n".join(["Options:", *options]), *listed])


def _options(text: str, group: str = "") -> list[str]:
    """Return a line for every key of a config file that has a comment; Hydra's own part is not for users."""
    text = text.partition("\nhydra:")[0].replace("${digrap.repo:}", "<repository>")
    found = re.findall(r"^(\w+): +(\S+) +# (.+)$", text, flags=re.MULTILINE)
    return [f"  {group}{key}={value:{max(1, 40 - len(group + key))}}  {comment}" for key, value, comment in found]


def print_lists(arguments: list[str]) -> int:
    """Print what the arguments after `--list` name: one or more lists, or the names of all. Returns the exit code."""
    names = [argument for argument in arguments if argument != "--list"]
    try:
        print("\n\n".join(map(described, names)) if names else overview(), flush=True)
    except DigrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def described(name: str, command: str = "python train.py") -> str:
    """Return a list as text: how a choice is given on the command line, then one line per choice."""
    found = choices(name)
    key = "-m table" if name == "tables" else GROUPS[name]
    width = max(map(len, found))
    return "\n".join([f"{command} {key}=…", *(f"  {choice:{width}}  {text}" for choice, text in found.items())])


def overview() -> str:
    """Return the names of all choices, one line per list."""
    width = max(map(len, GROUPS))
    lines = [f"{name:{width}}  {', '.join(choices(name))}" for name in GROUPS]
    return "\n".join(
        [*lines, "", "python train.py --list methods      describes them, one per line; the other lists likewise"]
    )
