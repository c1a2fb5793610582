"""A rule of your own against vanilla, L2-SP, WiSE-FT and DiGraP on the miniature (docs/judge.md):

    python scripts/judge.py method=my_rule.py [cls=MyRule options.mu=0.3 seeds=0,1 jobs=2 outputs=DIR] [key=value …]

`options.…` go to the rule, other keys of train.py to every run. Runs that are there are used; an interrupted call goes
on where it was. Prints a table and a verdict, and writes <outputs>/judge/<name>.json.
"""

import copy
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table as RichTable  # noqa: E402

from digrap.cli.door import bare_keys, door  # noqa: E402
from digrap.config.schema import split_kinds  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.files import write_json  # noqa: E402
from digrap.core.paths import OUTPUTS, REPO  # noqa: E402
from digrap.engine.build import build_backbone, build_data, build_method  # noqa: E402
from digrap.methods.from_file import find_class  # noqa: E402
from digrap.optim import param_groups  # noqa: E402
from digrap.report import matched_id as statistic  # noqa: E402
from digrap.report.formats import format_difference  # noqa: E402
from digrap.tables.spec import PILOT, Cell  # noqa: E402

DEFAULTS = {"method": None, "cls": None, "seeds": "0,1", "jobs": os.cpu_count() or 1, "outputs": str(OUTPUTS)}
RATES = ("1e-3", "3e-4")
REFERENCE = {
    "zero-shot": ("optim=zero_shot",),
    **{f"vanilla, lr {rate}": ("optim=vanilla", f"trainer.base.lr={rate}") for rate in RATES},
}
OTHERS = {
    "L2-SP": ("optim=l2sp", "trainer.base.lr=1e-3"),
    "WiSE-FT, α = 0.5": ("optim=wise_ft", "trainer.base.lr=1e-3"),
    "DiGraP": ("optim=digrap", "trainer.base.lr=1e-3"),
}
FOUND_BY_JUDGE = ("seed", "optim", "trainer.base.lr", "hydra.run.dir")  # what the rows set themselves


def main() -> None:
    """Run what is missing, compare, print, write."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the runs end with this one
    options = arguments(sys.argv[1:])
    name, outputs, seeds = find_class(str(options.file), options.cls).__name__, options.outputs, options.seeds
    mine = {f"{name} at lr {rate}": (*options.rule, f"trainer.base.lr={rate}") for rate in RATES}
    cells = {
        row: [Cell(row, seed, (*options.extra, *overrides, f"seed={seed}")) for seed in seeds]
        for row, overrides in {**REFERENCE, **mine, **OTHERS}.items()
    }
    for row in cells:
        build_method(cells[row][0].config)  # a bad option ends here
    make([cell for row in cells.values() for cell in row], outputs, options.jobs)

    kinds = split_kinds(cells["zero-shot"][0].config)
    answers = {row: [statistic.read_answers(cell.folder(outputs), kinds) for cell in cells[row]] for row in cells}
    gains = statistic.judge({row: answers[row] for row in REFERENCE}, {row: answers[row] for row in (*mine, *OTHERS)})
    best = statistic.chosen({row: answers[row] for row in mine})
    steps = step_costs({row: cells[row][0].config for row in cells})
    verdict, lines = statistic.verdict(best, gains[best], steps[best]), notes(seeds, gains)
    show(answers, gains, steps, lines, verdict)
    rows = {}
    for row in cells:
        identity, ood = statistic.accuracy(answers[row])
        rows[row] = {"id": identity, "ood": ood, "step": steps.get(row), "runs": [cell.place for cell in cells[row]]}
        if gain := gains.get(row):
            rows[row] |= {"gain": gain.gain, "low": gain.low, "high": gain.high, "beyond": gain.beyond}
    told = {"verdict": verdict, "chosen": best, "pilot": min(seeds) < PILOT, "seeds": seeds, "rows": rows}
    source = options.file.read_text(encoding="utf-8")
    asked = {"class": name, "rule": options.rule, "overrides": options.extra, "source": source}
    path = outputs / "judge" / f"{options.cls or options.file.stem}.json"
    write_json(path, {**told, **asked, "notes": lines})
    print(f"written: {path}")


@dataclass(frozen=True)
class Options:
    """What was asked for: `rule` are the overrides of the rule's rows, `extra` those of every run."""

    file: Path
    cls: str | None
    seeds: list[int]
    jobs: int
    outputs: Path
    rule: list[str]
    extra: list[str]


def arguments(given: list[str]) -> Options:
    """Read the command line. Raises DigrapError for what does not belong there."""
    rule = [argument for argument in given if argument.startswith("options.")]
    own = [argument for argument in given if argument.split("=")[0] in DEFAULTS]
    extra = [argument for argument in given if argument not in rule and argument not in own]
    options = bare_keys(own, DEFAULTS)
    if not options.method:
        raise DigrapError("method is not given: method=my_rule.py, a file with a torch optimizer (examples/my_rule.py)")
    for argument in extra:
        if (key := argument.lstrip("+").split("=")[0]) in FOUND_BY_JUDGE or "=" not in argument:
            raise DigrapError(f"{argument}: {key} is not for you to set here; seeds=0,1 and options.… are")
    try:
        seeds = list(dict.fromkeys(int(seed) for seed in str(options.seeds).split(",")))  # each once
        jobs = max(1, int(options.jobs))
    except ValueError as error:
        raise DigrapError(
            f"seeds={options.seeds} jobs={options.jobs}: whole numbers, as in seeds=0,1 jobs=2"
        ) from error
    file = Path(options.method).resolve()
    quoted = str(file).replace("\\", "\\\\").replace("'", "\\'")
    cls = [] if options.cls is None else [f"optim.cls={options.cls}"]
    return Options(
        file=file, cls=options.cls, seeds=seeds, jobs=jobs, outputs=Path(options.outputs).resolve(), extra=extra,
        rule=["optim=file", f"optim.file='{quoted}'", *cls, *(f"++optim.{option}" for option in rule)],
    )  # fmt: skip


def make(cells: list[Cell], outputs: Path, jobs: int) -> None:
    """Make the missing runs with train.py, `jobs` at once; one that goes on from another waits for it.

    Raises DigrapError where one fails, after ending the others, which a later call resumes.
    """
    waiting = {cell.place: cell for cell in cells if not _done(cell, outputs)}
    total, count, started, running = len({cell.place for cell in cells}), len(waiting), time.monotonic(), {}
    if count:
        print(f"judge: {total - count} of {total} runs are there, {count} to make, {jobs} at a time", flush=True)
    try:
        while waiting or running:
            for place, cell in list(waiting.items()):
                if len(running) < jobs and cell.start_place not in {**waiting, **running}:
                    running[place] = Process(waiting.pop(place), outputs)
            time.sleep(0.1)
            for place, process in list(running.items()):
                if process.ended():
                    del running[place]
                    process.check(outputs)
                    left = len(waiting) + len(running)
                    minutes = (time.monotonic() - started) / 60
                    print(
                        f"judge: {total - left} of {total}: {process.cell.row}, seed {process.cell.seed} in "
                        f"{process.seconds():.0f} s; about {minutes / (count - left) * left:.1f} min left",
                        flush=True,
                    )
    except KeyboardInterrupt:
        raise DigrapError("interrupted; the same command goes on where it was") from None
    finally:
        for process in running.values():
            process.end()


class Process:
    """`python train.py` for one cell, its output kept for the case that it fails."""

    def __init__(self, cell: Cell, outputs: Path):
        self.cell, self.output, self.started = cell, tempfile.TemporaryFile("w+"), time.monotonic()  # noqa: SIM115
        # The hash is found by train.py itself: a file changed since would else land in the old one's folder.
        folder = f"hydra.run.dir='{outputs}/${{dataset.name}}/${{digrap.run_hash:}}'"
        command = [sys.executable, "train.py", *cell.overrides, folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.popen = subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )

    def ended(self) -> bool:
        return self.popen.poll() is not None

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def check(self, outputs: Path) -> None:
        """Raise DigrapError with the run's last lines unless it is done."""
        where = f"{self.cell.row}, seed {self.cell.seed}"
        if self.popen.returncode:
            self.output.seek(0)
            tail = "\n".join(f"    {line}" for line in self.output.read().splitlines()[-8:])
            raise DigrapError(f"the run of {where} failed:\n{tail}\n  again alone: {self.cell.command}")
        if not _done(self.cell, outputs):
            raise DigrapError(f"the run of {where} is not where it should be: did the file change? Start again")

    def end(self) -> None:
        self.popen.terminate()
        self.popen.wait()


def _done(cell: Cell, outputs: Path) -> bool:
    return (cell.folder(outputs) / "results.json").exists()


def step_costs(configs: dict, rounds: int = 100) -> dict[str, float]:
    """Optimizer step over torch's foreach AdamW, on the model's own tensors with one thread: the median over rounds
    that go over all of them in turn, so that a busy machine slows them alike."""
    torch.set_num_threads(1)
    some = next(iter(configs.values()))
    backbone = build_backbone(some, build_data(some).classes)
    generator, optimizers = torch.Generator().manual_seed(0), {}
    for row, cfg in configs.items():
        if make_optimizer := build_method(cfg).optimizer:
            optimizers[row] = _with_gradients(make_optimizer, backbone, generator)
    optimizers[None] = _with_gradients(lambda groups: torch.optim.AdamW(groups, foreach=True), backbone, generator)
    times = [{row: _timed(optimizer) for row, optimizer in optimizers.items()} for _ in range(rounds + 5)][5:]
    return {row: statistics.median(each[row] / each[None] for each in times) for row in optimizers if row is not None}


def _with_gradients(make_optimizer, backbone, generator) -> torch.optim.Optimizer:
    module = copy.deepcopy(backbone.module)
    for param in module.parameters():
        param.grad = torch.randn(param.shape, generator=generator) * 1e-3
    return make_optimizer(param_groups(module, unanchored=backbone.unanchored))


def _timed(optimizer: torch.optim.Optimizer) -> float:
    start = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - start


def notes(seeds: list[int], gains: dict[str, statistic.Gain]) -> list[str]:
    """What a reader must know of the numbers."""
    lines = [
        f"Accuracy in %, mean over the seeds {', '.join(map(str, seeds))}. Gain: OOD mean minus what zero-shot and "
        f"vanilla, joined by lines, have at the same ID accuracy; {statistic.LEVEL} % interval: bootstrap over "
        f"{'seeds and examples' if len(seeds) > 1 else 'examples alone, there is one seed'}. Step: × torch's foreach "
        "AdamW, one CPU thread."
    ]
    for row, gain in gains.items():
        if gain.beyond:
            lines.append(f"{row}: {gain.beyond} of {gain.seeds} seeds beyond the line's ends, held to the nearest end.")
    if min(seeds) < PILOT:
        lines.append(f"Pilot: seeds below {PILOT} are for development; report seeds={PILOT},{PILOT + 1},… instead.")
    return lines


def show(answers: dict, gains: dict, steps: dict, lines: list[str], verdict: str) -> None:
    """Print table, notes and the verdict."""
    grid = RichTable()
    for position, title in enumerate(("", "ID", "OOD mean", f"gain [{statistic.LEVEL} %]", "step")):
        grid.add_column(title.replace("[", r"\["), justify="right" if position else "left")
    for row, runs in answers.items():
        text, gain = "—", gains.get(row)
        if gain is not None:
            text = f"{format_difference(gain.gain)} [{format_difference(gain.low)} … {format_difference(gain.high)}]"
        numbers = [f"{value:.1f}" for value in statistic.accuracy(runs)]
        step = f"{steps[row]:.1f}" if row in steps else "—"
        grid.add_row(row, *numbers, text.replace("[", r"\["), step)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(grid, *lines, sep="\n", highlight=False)
    print(verdict)


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
