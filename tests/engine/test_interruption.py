"""Signals: the step in hand is finished and saved, and the resumed run is bit-equal to an undisturbed one."""

import os
import signal

import pytest
import torch

from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import checkpoint, interruption
from digrap.engine import run as engine
from digrap.engine.boundary import agree
from digrap.engine.evaluate import Evaluator
from digrap.engine.fit import Fit
from tests.doors import call
from tests.engine.runs import metrics, repeatable, results, weights

# 12 steps in two epochs: the call of a method at which the signal comes, and the step of the newest checkpoint after.
PLACES = {
    "in an epoch": (Fit, "_step", 4, 4),
    "at its last step": (Fit, "_step", 6, 6),
    "in the last step": (Fit, "_step", 12, 12),
    "in validation": (Evaluator, "_answer", 1, 6),
    "in testing": (Evaluator, "_answer", 5, 12),
}


@pytest.fixture(scope="module")
def whole(small_data, tmp_path_factory):
    """The folder of an undisturbed run."""
    from tests.conftest import SMALL, composed

    folder = tmp_path_factory.mktemp("whole")
    engine.run(composed(*SMALL, f"data_root={small_data}"), folder)
    return folder


def signal_at(monkeypatch, place, number):
    """Send this process a signal at the given call of a method."""
    owner, name, at, _ = PLACES[place]
    plain, calls = getattr(owner, name), []

    def signalled(self, *args):
        calls.append(name)
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return plain(self, *args)

    monkeypatch.setattr(owner, name, signalled)


def assert_same(folder, whole):
    assert repeatable(folder) == repeatable(whole) and metrics(folder) == metrics(whole)
    found, expected = weights(folder), weights(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("place", "number"),
    [("in an epoch", signal.SIGTERM), ("in validation", signal.SIGUSR2)]
    + [pytest.param(place, signal.SIGINT, marks=pytest.mark.slow) for place in PLACES],
)
def test_a_signal_saves_and_the_same_command_goes_on(small, tmp_path, monkeypatch, whole, place, number):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
        signal_at(patch, place, number)
        engine.run(small(), tmp_path)
    assert signal.getsignal(number) is before and interruption.asked() is None
    assert caught.value.code == 128 + number and number.name in str(caught.value)
    newest = checkpoint.folders(tmp_path / "checkpoints")[-1]
    assert newest.name == f"step-{PLACES[place][-1]:08d}" and (
        place == "in testing" or str(newest) in str(caught.value)
    )
    assert not (tmp_path / "error.txt").exists()
    engine.run(small(), tmp_path)
    assert_same(tmp_path, whole)


def test_before_there_is_anything_to_save_it_leaves_at_once(small, tmp_path, monkeypatch):
    def read(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr("digrap.engine.job.build_backbone", read)
    with pytest.raises(Interrupted):
        engine.run(small(), tmp_path)


def test_an_error_of_another_process_that_has_left_already_is_no_failure(small, tmp_path, monkeypatch):
    def fail(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(Fit, "_step", fail)
    with pytest.raises(Interrupted):
        engine.run(small(), tmp_path)
    assert not (tmp_path / "error.txt").exists()


def test_an_error_of_the_run_is_a_failure_though_a_signal_came(small, tmp_path, monkeypatch):
    def fail(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise DigrapError("no space left")

    monkeypatch.setattr(Fit, "_step", fail)
    with pytest.raises(DigrapError, match="no space"):
        engine.run(small(), tmp_path)


RULE = """
import os, pathlib, signal, torch

class Rule(torch.optim.SGD):
    def step(self, closure=None):
        flag = pathlib.Path(__file__).with_suffix(".signalled")
        if not flag.exists():
            flag.touch()
            for number in {numbers}:
                os.kill(os.getpid(), number)
        return super().step(closure)
"""


@pytest.mark.parametrize(
    ("numbers", "code", "saved"),
    [
        ("[signal.SIGTERM]", 143, 1),
        pytest.param("[signal.SIGINT]", 130, 1, marks=pytest.mark.slow),
        pytest.param("[2, 2]", 130, 0, marks=pytest.mark.slow),
    ],
)
def test_the_door_says_what_is_saved(small_arguments, tmp_path, numbers, code, saved):
    """A real process; the second Ctrl-C ends it in the step."""
    (tmp_path / "rule.py").write_text(RULE.format(numbers=numbers))
    words = [*small_arguments, "optim=file", f"optim.file={tmp_path / 'rule.py'}", f"hydra.run.dir={tmp_path / 'run'}"]
    run = call("train.py", *words)
    assert run.returncode == code and "Traceback" not in run.stderr
    assert len(checkpoint.folders(tmp_path / "run" / "checkpoints")) == saved
    if saved:
        last = run.stderr.splitlines()[-1]
        assert f"step 1 was saved in {tmp_path / 'run' / 'checkpoints' / 'step-00000001'}; the same command" in last
    assert call("train.py", *words).returncode == 0
    assert results(tmp_path / "run")["scores"]


class TwoRanks:
    """An accelerator whose other rank has these numbers."""

    num_processes, device = 2, torch.device("cpu")

    def __init__(self, *others):
        self.others = torch.tensor(others, dtype=torch.float32)

    def reduce(self, mine):
        return mine + self.others


@pytest.mark.parametrize(
    ("other", "agreed"),
    [
        ((0, 0, 0, 0), (False, None)),
        ((1, 0, 0, 0), (True, None)),
        ((0, 0, 1, 0), (False, signal.SIGTERM)),
        ((0, 1, 0, 1), (False, signal.SIGINT)),
    ],
)
def test_ranks_agree(other, agreed):
    assert agree(TwoRanks(*other), False) == agreed


def test_who_ignores_ctrl_c_goes_on_doing_so(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption.listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_of_a_sweep_begins_no_further_run(monkeypatch):
    monkeypatch.setattr(interruption, "_signals", interruption._Signals())
    interruption.keep_listening()
    try:
        os.kill(os.getpid(), signal.SIGTERM)  # between two runs
        with pytest.raises(Interrupted), interruption.listening():
            pytest.fail("it was begun")
    finally:
        interruption._signals.restore()
