"""A killed joblib process ends its own run at most: the others are made, and the same command goes on."""

import json
import shlex
import subprocess
import sys

import pytest

from digrap.core.paths import REPO
from tests.doors import typed

RULE = """
import os, pathlib, signal, torch

class Rule(torch.optim.SGD):
    def step(self, closure=None):
        flag = pathlib.Path(__file__).with_suffix(".killed")
        if {when}:
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(closure)
"""
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture
def rules(tmp_path):
    """Optimizers: one that kills its process, one that does so unless a process was killed before, and one that does
    not."""
    folder = tmp_path / "my rules"
    folder.mkdir()
    for name, when in (("once", "not any(flag.parent.glob('*.killed'))"), ("always", "True"), ("fine", "False")):
        (folder / f"{name}.py").write_text(RULE.format(when=when) + f"# {name}\n")
    return folder


@pytest.mark.slow
def test_a_plain_sweep_keeps_and_makes_what_is_not_killed_twice(small_arguments, tmp_path, rules):
    files = ",".join(str(rules / f"{name}.py") for name in ("always", "once", "fine"))
    sweep = f"hydra.sweep.dir={tmp_path / 'the runs'}"
    words = [*small_arguments, "trainer.epochs=1", "optim=file", f"optim.file={files}"]
    run = typed("train.py", "-m", *words, *JOBLIB, sweep)
    error = run.stderr[run.stderr.rindex("error: ") :]
    assert run.returncode == 2 and "Traceback" not in error
    assert "was killed twice (SIGKILL(-9)), most likely for lack of memory" in error
    assert "wait" not in run.stdout + error, "nobody has typed that"
    assert "3 runs, 2 at a time" in run.stdout and "keep_listening" not in run.stdout
    results = list((tmp_path / "the runs").glob("*/results.json"))
    assert len(results) == 2 and all(json.loads(path.read_text())["method"] == "Rule" for path in results)
    advised = error[error.rindex("python train.py") :].strip()
    assert "always.py" in advised
    (rules / "always.py").write_text(RULE.format(when="False") + "# fixed\n")
    again = subprocess.run(["bash", "-c", advised.replace("python", sys.executable, 1)], cwd=REPO, capture_output=True)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "the runs").glob("*/results.json"))) == 3


@pytest.mark.slow
def test_a_table_makes_the_other_rows(small_arguments, tmp_path, rules):
    rows = f'  always: [optim=file, "optim.file={rules}/always.py"]\n  zero-shot: [optim=zero_shot]'
    table = tmp_path / "mine.yaml"
    table.write_text(f"title: t\noverrides: [dataset=minidomainnet]\nseeds: [1]\nrows:\n{rows}\n")
    place = tmp_path / "runs" / "minidomainnet"
    words = [f"table={table}", *small_arguments, "trainer.epochs=1"]
    run = typed("train.py", "-m", *words, *JOBLIB, f"hydra.sweep.dir={place}")
    error = run.stderr[run.stderr.rindex("error: ") :]
    assert run.returncode == 2 and "1 runs failed" in error and "was killed twice" in error
    assert f"hydra.sweep.dir={place}" in shlex.split(error.splitlines()[1]), "the command goes on in the same folder"
    assert len(list(place.glob("*/results.json"))) == 1
