"""scripts/judge.py: one call from end to end, and wrong calls."""

import json
import os
import signal
import sys
import time
from functools import partial

import pytest

from digrap.cli import judge
from digrap.cli import sweep as runs
from digrap.cli.door import door
from digrap.core.paths import CONFIGS, REPO
from digrap.engine import run as engine
from digrap.report.matched_id import read_answers
from digrap.tables.spec import Cell, load_table

EXAMPLE = REPO / "examples" / "my_rule.py"


@pytest.mark.slow
def test_from_end_to_end(small_arguments, tmp_path, monkeypatch, capsys, quick):
    """All runs but two are there already; judge makes those through the table sweeper, WiSE-FT from vanilla's run."""
    tiny = [*small_arguments, "trainer.epochs=1", "trainer.validate_every=1"]
    given = [f"method={EXAMPLE}", "options.pull=2.0", "seeds=0", "jobs=1", f"outputs={tmp_path}", *tiny]
    options = judge.parse(given)
    rule, wise = options.rule, "WiSE-FT, α = 0.5"
    assert options.extra == tiny and options.seeds == [0] and rule[-1] == "++optim.options.pull=2.0"
    others = [overrides for row, overrides in judge.OTHERS.items() if row != wise]
    for overrides in (*judge.REFERENCE.values(), [*rule, "trainer.base.lr=3e-4"], *others):
        cell = Cell("", 0, (*tiny, *overrides, "seed=0"))
        engine.run(cell.config, cell.folder(tmp_path))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["judge.py", *given])
    monkeypatch.setattr(judge, "step_costs", partial(judge.step_costs, rounds=10))
    assert door(judge.main) == 0
    printed = capsys.readouterr().out
    assert "6 of 8 runs are done, 2 to make, 1 at a time" in printed and "Pilot: seeds below 100" in printed
    assert "8 of 8: " in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("verdict: ")]
    written = json.loads((tmp_path / "judge" / "my_rule.json").read_text())
    assert written["verdict"] == line and written["source"] == EXAMPLE.read_text() and written["pilot"]
    assert written["rule"] == rule and len(written["rows"]) == 8
    mine = written["rows"]["PullBack at lr 1e-3"]
    assert mine["low"] <= mine["gain"] <= mine["high"] and mine["step"] > 0.5
    assert "gain" not in written["rows"]["zero-shot"] and written["rows"][wise]["step"] is None
    folder = tmp_path / mine["runs"][0]
    result = json.loads((folder / "results.json").read_text())
    kinds = {name: score["kind"] for name, score in result["scores"].items()}
    assert mine["id"] == pytest.approx(result["scores"]["real"]["accuracy"])
    assert 100 * read_answers(folder, kinds).ood["sketch"].mean() == pytest.approx(
        result["scores"]["sketch"]["accuracy"]
    )
    averaged = json.loads((tmp_path / written["rows"][wise]["runs"][0] / "results.json").read_text())
    vanilla = written["rows"]["vanilla, lr 1e-3"]["runs"][0]
    assert averaged["start"]["hash"] == vanilla.split("/")[1]
    check_table(tmp_path / "judge" / "my_rule.yaml", written)


def check_table(file, written):
    """The table's cells are the runs of the result; nothing is searched, so no winners are written."""
    table = load_table(str(file))
    for row, found in written["rows"].items():
        assert [table.cell(row, seed).place for seed in table.seeds] == found["runs"]
    assert not table.searches and not (CONFIGS / "best" / "my_rule").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "method is not given"),
        (["method=not_there.py"], "not_there.py; examples/my_rule.py is an example to start from"),
        ([f"method={EXAMPLE}", "options.pul=1"], "optim.options.pul: PullBack takes no such argument"),
        ([f"method={EXAMPLE}", "seed=1"], "seed=1: the judge sets seed itself"),
        ([f"method={EXAMPLE}", "hydra.run.dir=x"], "the judge sets hydra.run.dir itself"),
        ([f"method={EXAMPLE}", "seeds=a"], "seeds=a: give whole numbers"),
        ([f"method={EXAMPLE}", "jobs=a"], "jobs=a: give a whole number"),
        ([f"method={EXAMPLE}", "trainer.epoch=1"], "nearest: trainer.epochs"),
    ],
)
def test_wrong_calls_are_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["judge.py", *arguments, *([f"outputs={tmp_path}"] if arguments else [])])
    assert door(judge.main) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_seed_stands_once_and_a_chosen_dataset_stays():
    options = judge.parse([f"method={EXAMPLE}", "seeds=3,1,3", "dataset=folder"])
    assert options.seeds == [3, 1] and options.common == ["dataset=folder"]
    assert judge.parse([f"method={EXAMPLE}"]).common == ["dataset=minidomainnet"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_runs_and_gives_its_own_code(tmp_path, monkeypatch, capsys, number, code):
    """As of every other door; the processes of the sweep end before this one does."""
    started = tmp_path / "started"
    program = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"
    monkeypatch.setattr(runs, "_command", lambda *_: [sys.executable, "-c", program])
    monkeypatch.setattr(runs, "GRACE_SECONDS", 2)
    watch = runs._watch

    def told(process, *others):
        while not started.exists():
            time.sleep(0.01)
        processes.append(process)
        os.kill(os.getpid(), number)
        watch(process, *others)

    processes, handlers = [], [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    monkeypatch.setattr(runs, "_watch", told)
    monkeypatch.setattr(sys, "argv", ["judge.py", f"method={EXAMPLE}", "seeds=0", f"outputs={tmp_path}"])
    assert door(judge.main) == code
    assert f"interrupted by {number.name}" in capsys.readouterr().err and processes[0].returncode == -signal.SIGINT
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
