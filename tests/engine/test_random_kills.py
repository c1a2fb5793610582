"""Runs of all methods that are killed at random moments: the next start ends with the same bytes. KILLS=all tries fifty
moments instead of twelve."""

import os
import random
import signal
import time

import pytest
import torch

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.engine import run as engine
from digrap.runs.folder import RunFolder
from tests.conftest import SMALL
from tests.doors import begin, call
from tests.engine.golden import METHODS, OPTIONS
from tests.engine.runs import metrics
from tests.engine.test_kills import content, start
from tests.engine.test_vlm_run import run_on, write_questions

MOMENTS = 50 if os.environ.get("KILLS") == "all" else 12
TINY = [f"dataset.splits.{name}.size=45" for name in ("real_train", "real_val")]
TINY += ["trainer.epochs=2", "trainer.checkpoint_minutes=0", "trainer.batch_size=15", "trainer.micro_batch=15"]


def config(data, method="digrap", *more):
    return compose([*SMALL, f"data_root={data}", f"optim={method}", *OPTIONS.get(method, []), *TINY, *more])


@pytest.fixture(scope="module")
def undisturbed(small_data, tmp_path_factory):
    """Method → (its config, the content of an undisturbed run's folders, its seconds)."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    known = {}

    def make(method):
        if method not in known:
            cfg, folder = config(small_data, method), tmp_path_factory.mktemp(method)
            engine.run(config(small_data, "zero_shot"), folder / "pictures")  # draws them once, for all that is forked
            began = time.monotonic()
            assert start(cfg, folder / "runs" / run_hash(cfg))[0] == 0
            known[method] = cfg, content(folder / "runs"), time.monotonic() - began
        return known[method]

    return make


def killed_after(seconds, cfg, folder):
    """Begin a run in a forked process and kill it; whether it was still at work."""
    if (child := os.fork()) == 0:
        try:
            engine.run(cfg, folder)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, MOMENTS))])
def test_a_run_killed_at_a_random_moment_ends_with_the_same_bytes(undisturbed, tmp_path, number):
    method = METHODS[number % len(METHODS)]
    cfg, whole, seconds = undisturbed(method)
    folder, moment = tmp_path / run_hash(cfg), random.Random(number).random()
    killed_after(moment * seconds, cfg, folder)
    assert start(cfg, folder)[0] == 0, moment
    assert content(tmp_path) == whole, moment


@pytest.fixture(scope="module")
def undisturbed_answers(tmp_path_factory):
    """(config, content, seconds) of DiGraP on the adapters of a tiny PaliGemma, which validates by answering."""
    torch.set_num_threads(1)
    root = write_questions(tmp_path_factory.mktemp("questions") / "own")
    cfg = compose([*run_on(root), "trainer.epochs=2", "trainer.checkpoint_minutes=0"])
    folder = tmp_path_factory.mktemp("answers")
    began = time.monotonic()
    assert start(cfg, folder / run_hash(cfg))[0] == 0
    return cfg, content(folder), time.monotonic() - began


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 6))])
def test_a_killed_run_of_adapters_ends_with_the_same_bytes(undisturbed_answers, tmp_path, number):
    cfg, whole, seconds = undisturbed_answers
    folder, moment = tmp_path / run_hash(cfg), random.Random(number).random()
    killed_after(moment * seconds, cfg, folder)
    assert start(cfg, folder)[0] == 0, moment
    assert content(tmp_path) == whole, moment


def test_a_kill_inside_the_writing_of_a_checkpoint_costs_only_that_one(undisturbed, tmp_path, monkeypatch):
    cfg, whole, _ = undisturbed(METHODS[0])
    folder, save, written = tmp_path / run_hash(cfg), torch.save, []

    def cut(value, file):
        written.append(1)
        if len(written) == 3:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(value, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        status, _ = start(cfg, folder)
    assert os.WIFSIGNALED(status)
    assert [path.name for path in (folder / "checkpoints").iterdir() if path.name.endswith(".tmp")]
    assert start(cfg, folder)[0] == 0 and content(tmp_path) == whole


def test_a_kill_at_the_very_end_leaves_no_owner(undisturbed, tmp_path, monkeypatch):
    """What is killed once it is done and tidy is still written down as the folder's holder."""
    cfg, whole, _ = undisturbed(METHODS[0])
    folder = tmp_path / run_hash(cfg)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "announce", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert os.WIFSIGNALED(start(cfg, folder)[0])
    assert RunFolder(folder).owner_file.exists()
    assert start(cfg, folder)[0] == 0 and content(tmp_path) == whole


@pytest.mark.slow
def test_two_processes_on_one_folder(small_arguments, tmp_path):
    """The second is refused with the first one's number, or waits for it."""
    folder = RunFolder(tmp_path / "run")
    words = ["train.py", *small_arguments, f"hydra.run.dir={folder.path}", "trainer.epochs=10"]
    first = begin(*words)
    while not folder.owner_file.exists():
        time.sleep(0.05)
    refused = call(*words)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"{folder.path} is being written by another process: process " in refused.stderr.splitlines()[-1]
    waiting = begin(*words, "wait=true")
    assert first().returncode == 0 and waiting().returncode == 0
    assert len([record for record in metrics(folder.path) if record["event"] == "val"]) == 10, "it was made once"
