"""An evaluation that is killed within a split goes on there, and ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.core.paths import REPO
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from digrap.runs.written import kept_answers
from digrap.tasks.vqa import VQA
from tests.engine.runs import repeatable, results
from tests.tasks.answering import write_questions

pytestmark = pytest.mark.slow  # make test-all

BATCHES = 4 + 4 + 4  # of seven: 24 questions in each of val, test and far


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    questions = write_questions(tmp_path_factory.mktemp("questions") / "own")
    return [*questions, "optim=zero_shot", "trainer.checkpoint_minutes=0"]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    engine.run(compose(options), folder)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The size of every batch that the model answers."""
    sizes, predict = [], VQA.predict

    def counting(self, module, batch):
        sizes.append(batch.size)
        return predict(self, module, batch)

    monkeypatch.setattr(VQA, "predict", counting)
    return sizes


def killed(work, after):
    """Do `work` in a forked process that is killed when the model is asked once more than `after` times."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    if (child := os.fork()) == 0:
        predict, count = VQA.predict, iter(range(after))

        def ending(self, module, batch):
            if next(count, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return predict(self, module, batch)

        VQA.predict = ending
        try:
            work()
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def same(folder, other):
    """Whether two folders have the same results and predictions."""
    equal = (folder / PREDICTIONS).read_bytes() == (other / PREDICTIONS).read_bytes()
    return equal and repeatable(folder) == repeatable(other)


PREDICTIONS = "predictions.npz"
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")


@forks
@pytest.mark.parametrize("after", [0, 2, 6, BATCHES - 1])
def test_a_killed_evaluation_goes_on_within_the_split(options, whole, asked, tmp_path, after):
    cfg = compose(options)
    killed(lambda: engine.run(cfg, tmp_path / "run"), after)
    engine.run(cfg, tmp_path / "run")
    assert len(asked) == BATCHES - after and same(tmp_path / "run", whole)
    assert not kept_answers(tmp_path / "run")


@forks
def test_one_that_is_killed_twice_goes_on_twice(options, whole, asked, tmp_path):
    cfg = compose(options)
    killed(lambda: engine.run(cfg, tmp_path / "run"), 3)
    killed(lambda: engine.run(cfg, tmp_path / "run"), 2)
    engine.run(cfg, tmp_path / "run")
    assert len(asked) == BATCHES - 5 and same(tmp_path / "run", whole)


@forks
def test_training_that_is_killed_while_it_validates_goes_on_there(options, asked, tmp_path):
    cfg = compose([*options, "optim=vanilla", "trainer.epochs=2"])
    engine.run(cfg, tmp_path / "whole")
    count = len(asked)
    killed(lambda: engine.run(cfg, tmp_path / "run"), 4 + 2)
    asked.clear()
    engine.run(cfg, tmp_path / "run")
    assert len(asked) == count - 6 and same(tmp_path / "run", tmp_path / "whole")


@forks
@pytest.mark.parametrize("change", ["trainer.eval_batch_size=6", "trainer.decoding=card", "seed=1"])
def test_other_batches_decodings_and_weights_are_answered_afresh(options, asked, tmp_path, change):
    """Sizes of batches are no part of the hash; the others are, and a folder of one's own may still see two."""
    killed(lambda: engine.run(compose(options), tmp_path / "run"), 6)
    assert len(kept_answers(tmp_path / "run")) == 2
    engine.run(compose([*options, change]), tmp_path / "run")
    assert len(asked) == BATCHES
    engine.run(compose([*options, change]), tmp_path / "afresh")
    assert same(tmp_path / "run", tmp_path / "afresh")


@forks
def test_a_damaged_file_is_named_and_its_questions_are_answered_again(options, whole, asked, tmp_path, caplog):
    killed(lambda: engine.run(compose(options), tmp_path / "run"), 6)
    val, test = kept_answers(tmp_path / "run")[::-1]
    val.write_bytes(val.read_bytes()[:-30])
    engine.run(compose(options), tmp_path / "run")
    assert f"{val}: kept answers cannot be read" in caplog.text and test != val
    assert len(asked) == BATCHES - 2 and same(tmp_path / "run", whole)


@forks
def test_scoring_a_bare_backbone_again_goes_on_too(options, whole, asked, tmp_path, capsys):
    own = {"run": None, "split": None, "bundle": str(tmp_path / "bundle"), "allow": None, "edited": False}
    cfg = OmegaConf.create({**OmegaConf.to_container(compose(options)), **own, "out": str(tmp_path / "out.json")})
    killed(lambda: rescore(cfg), 5)
    (tmp_path / "bundle" / "answers-mine-1.npz").write_text("of the user's")
    rescore(cfg)
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(asked) == BATCHES - 5 and [file.name for file in kept_answers(tmp_path / "bundle")] == [
        "answers-mine-1.npz"
    ]
    assert [entry["answered"] for entry in found["tested"].values()] == [0, 24 - 7, 24]
    assert (tmp_path / "bundle" / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()
    assert found["scores"]["far"]["official2021"] == results(whole)["scores"]["far"]["official2021"]


@pytest.mark.slow
def test_two_processes_count_nothing_twice_and_take_over_from_one(options, whole, tmp_path):
    """Of 24 questions in batches of seven each process answers two batches."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "train.py", *options,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed(lambda: engine.run(compose(options), tmp_path / "cut"), 6)
    for name in ("both", "cut"):
        place = f"hydra.run.dir={tmp_path / name}"
        run = subprocess.run([*command, place], cwd=REPO, capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr[-3000:]
        assert (tmp_path / name / PREDICTIONS).read_bytes() == (whole / PREDICTIONS).read_bytes()
        assert results(tmp_path / name)["processes"] == 2 and not kept_answers(tmp_path / name)
