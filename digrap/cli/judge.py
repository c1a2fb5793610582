"""Judge an optimizer of your own against vanilla, L2-SP, WiSE-FT and DiGraP on the miniature (docs/judge.md):

    python scripts/judge.py method=my_rule.py [cls=MyRule options.mu=0.3 seeds=0,1 jobs=2 outputs=DIR] [key=value …]

`options.…` are the optimizer's arguments; other keys of train.py go to every run. Finished runs are reused; the
same command resumes after an interruption. Prints a table and a verdict, and writes <outputs>/judge/<name>.json; the
runs are those of the table <outputs>/judge/<name>.yaml.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from digrap.cli.arguments import bare_keys, parse_seeds
from digrap.cli.step_cost import step_costs
from digrap.cli.sweep import sweep
from digrap.config.overrides import as_typed, override
from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from digrap.core.files import write_json, write_text
from digrap.core.paths import OUTPUTS
from digrap.engine import interruption
from digrap.engine.build import build_method
from digrap.methods.from_file import find_class
from digrap.report import matched_id as statistic
from digrap.report.formats import format_interval
from digrap.tables.spec import PILOT, Cell

DEFAULTS = {"method": None, "cls": None, "seeds": "0,1", "jobs": os.cpu_count() or 1, "outputs": str(OUTPUTS)}
RATES = ("1e-3", "3e-4")
REFERENCE = {
    "zero-shot": ["optim=zero_shot"],
    **{f"vanilla, lr {rate}": ["optim=vanilla", f"trainer.base.lr={rate}"] for rate in RATES},
}
OTHERS = {
    "L2-SP": ["optim=l2sp", "trainer.base.lr=1e-3"],
    "WiSE-FT, α = 0.5": ["optim=wise_ft", "trainer.base.lr=1e-3"],  # initialised from vanilla's run at this rate
    "DiGraP": ["optim=digrap", "trainer.base.lr=1e-3"],
}
EXAMPLE = "examples/my_rule.py"
SET_BY_ROWS = ("seed", "optim", "trainer.base.lr", "table", "dry_run")


@interruption.listening()  # so that the runs end with this process
def main() -> None:
    """Run what is missing, compare, print, write."""
    options = parse(sys.argv[1:])
    if not options.file.is_file():
        raise DigrapError(f"method: there is no file {options.file}; {EXAMPLE} is an example to start from")
    name, source = find_class(str(options.file), options.cls).__name__, options.file.read_text(encoding="utf-8")
    mine = {f"{name} at lr {rate}": [*options.rule, f"trainer.base.lr={rate}"] for rate in RATES}
    rows = {**REFERENCE, **mine, **OTHERS}
    cells = {
        row: [Cell(row, seed, (*options.common, *overrides, f"seed={seed}")) for seed in options.seeds]
        for row, overrides in rows.items()
    }
    for row in cells:
        build_method(cells[row][0].config)  # a bad option ends here, before anything is written
    table, result = (options.outputs / "judge" / f"{options.name}.{kind}" for kind in ("yaml", "json"))
    write_text(table, as_table(f"{name} on the miniature", options, rows))
    sweep(table, [cell for row in cells.values() for cell in row], options.outputs, options.jobs)

    print("all runs are done; comparing them, and timing the optimizers' steps", flush=True)
    found = compare(cells, list(mine), options)
    show(found)
    question = {"class": name, "rule": options.rule, "overrides": options.extra, "source": source}
    write_json(result, {**as_plain(found, cells, options), **question, "notes": found.notes})
    print(f"written: {result}")


@dataclass(frozen=True)
class Options:
    """The command line: `rule` are the overrides of the optimizer's rows, `extra` those of every run."""

    file: Path
    cls: str | None
    seeds: list[int]
    jobs: int
    outputs: Path
    rule: list[str]
    extra: list[str]

    @property
    def name(self) -> str:
        """The stem of the files that are written."""
        return self.cls or self.file.stem

    @property
    def common(self) -> list[str]:
        """`extra` with the dataset: a table names one."""
        chosen = any(argument.startswith("dataset=") for argument in self.extra)
        return self.extra if chosen else ["dataset=minidomainnet", *self.extra]


def parse(given: list[str]) -> Options:
    """Parse the command line. Raises DigrapError for an argument that the judge or a run refuses."""
    rule = [argument for argument in given if argument.startswith("options.")]
    own = [argument for argument in given if argument.split("=")[0] in DEFAULTS]
    extra = [argument for argument in given if argument not in rule and argument not in own]
    options = bare_keys(own, DEFAULTS)
    if not options.method:
        raise DigrapError("method is not given: method=my_rule.py, a file with a torch optimizer, such as " + EXAMPLE)
    for argument in extra:
        key = argument.lstrip("+").split("=")[0]
        if key in SET_BY_ROWS or key.split(".")[0].split("/")[0] == "hydra" or "=" not in argument:
            raise DigrapError(f"{argument}: the judge sets {key} itself; give seeds=0,1 and options.… instead")
    if isinstance(options.jobs, bool) or not isinstance(options.jobs, int):
        raise DigrapError(f"jobs={options.jobs}: give a whole number, as in jobs=2")
    file = Path(options.method).resolve()
    cls = [] if options.cls is None else [override("optim.cls", options.cls)]
    return Options(
        file=file, cls=options.cls, seeds=parse_seeds(options.seeds), jobs=max(1, options.jobs),
        outputs=Path(options.outputs).resolve(),
        extra=list(map(as_typed, extra)),
        rule=["optim=file", override("optim.file", file), *cls, *(as_typed(f"++optim.{option}") for option in rule)],
    )  # fmt: skip


def as_table(title: str, options: Options, rows: dict[str, list[str]]) -> str:
    """Return the table of all runs, as `python train.py -m table=FILE` reads it."""
    plain = {"title": title, "overrides": options.common, "seeds": options.seeds, "rows": rows}
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120)


@dataclass(frozen=True)
class Comparison:
    """The outcome, by row: answers of each seed's run, gains, step times; `chosen` is the optimizer's better row."""

    answers: dict[str, list[statistic.Answers]]
    gains: dict[str, statistic.Gain]
    steps: dict[str, float]
    chosen: str
    notes: list[str]

    @property
    def verdict(self) -> str:
        """One line on the chosen row."""
        return statistic.verdict(self.chosen, self.gains[self.chosen], self.steps[self.chosen])


def compare(cells: dict[str, list[Cell]], mine: list[str], options: Options) -> Comparison:
    """Read all runs and compare them; `mine` are the rows of the optimizer that is judged."""
    kinds = split_kinds(cells["zero-shot"][0].config)
    answers = {
        row: [statistic.read_answers(cell.folder(options.outputs), kinds) for cell in cells[row]] for row in cells
    }
    reference = {row: answers[row] for row in REFERENCE}
    gains = statistic.judge(reference, {row: answers[row] for row in (*mine, *OTHERS)})
    chosen = statistic.chosen({row: answers[row] for row in mine})
    steps = step_costs({row: cells[row][0].config for row in cells})
    return Comparison(answers, gains, steps, chosen, notes(options.seeds, gains))


def as_plain(found: Comparison, cells: dict[str, list[Cell]], options: Options) -> dict[str, Any]:
    """Return the outcome as it is written."""
    rows = {}
    for row in cells:
        identity, ood = statistic.accuracy(found.answers[row])
        runs = [cell.place for cell in cells[row]]
        rows[row] = {"id": identity, "ood": ood, "step": found.steps.get(row), "runs": runs}
        if gain := found.gains.get(row):
            rows[row] |= {"gain": gain.gain, "low": gain.low, "high": gain.high, "beyond": gain.beyond}
    pilot, seeds = min(options.seeds) < PILOT, options.seeds
    return {"verdict": found.verdict, "chosen": found.chosen, "pilot": pilot, "seeds": seeds, "rows": rows}


def notes(seeds: list[int], gains: dict[str, statistic.Gain]) -> list[str]:
    """Return how the numbers are to be read, a line each."""
    lines = [
        f"Accuracy in %, mean over the seeds {', '.join(map(str, seeds))}. Gain: OOD mean minus what zero-shot and "
        f"vanilla, joined by lines, have at the same ID accuracy; {statistic.LEVEL} % interval: bootstrap over "
        f"{'seeds and examples' if len(seeds) > 1 else 'examples alone, there is one seed'}.",
        "Step: time × torch's fused AdamW (docs/performance.md), one CPU thread. Vanilla is the AdamW that torch uses "
        "by default, which on a CPU is not the fused one.",
    ]
    for row, gain in gains.items():
        if gain.beyond:
            lines.append(
                f"{row}: {gain.beyond} of {gain.seeds} seeds beyond the line's ends, compared with the nearest end."
            )
    if min(seeds) < PILOT:
        lines.append(f"Pilot: seeds below {PILOT} are for development; report seeds={PILOT},{PILOT + 1},… instead.")
    return lines


def show(found: Comparison) -> None:
    """Print table, notes and the verdict."""
    grid = RichTable()
    for position, title in enumerate(("", "ID", "OOD mean", f"gain [{statistic.LEVEL} %]", "step")):
        grid.add_column(escape(title), justify="right" if position else "left")
    for row, runs in found.answers.items():
        text, gain = "—", found.gains.get(row)
        if gain is not None:
            text = format_interval(gain.gain, gain.low, gain.high)
        numbers = [f"{value:.1f}" for value in statistic.accuracy(runs)]
        step = f"{found.steps[row]:.1f}" if row in found.steps else "—"
        grid.add_row(row, *numbers, escape(text), step)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(grid, *found.notes, sep="\n", highlight=False)
    print(found.verdict)
