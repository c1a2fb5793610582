"""Several processes of one run: their results are those of one; what ends one of them ends all, with one message."""

import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.engine import launch
from digrap.engine import run as engine
from digrap.engine.loaders import micro_batch
from digrap.models.weights import tensors_sha256
from tests.doors import call
from tests.doors import typed as started
from tests.engine import ranks
from tests.engine.endings import ending
from tests.engine.runs import metrics, results, weights
from tests.models.tiny import tiny

TWENTY = ("dataset.splits.real_train.size=160", "trainer.epochs=4", ranks.DOUBLED)  # steps, in float64


def assert_close(folder, expected, tolerance):
    ours, theirs = weights(folder), weights(expected)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance)
    assert results(folder)["scores"] == results(expected)["scores"]
    left, right = (
        [event["loss"] for event in metrics(path) if event["event"] == "train"] for path in (folder, expected)
    )
    assert left == pytest.approx(right, rel=max(tolerance, 1e-6))


def test_what_ends_a_rank_is_raised_with_its_traceback():
    started = time.monotonic()
    with pytest.raises(launch.RankFailed, match=r"rank 1 of the run failed:\nTraceback[^$]*Division.*in a hook"):
        launch.start(2, ending, "crash")
    assert time.monotonic() - started < 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "rank", "error", "message"),
    [
        ("error", 0, DigrapError, "^the data are not there$"),
        ("error", 1, DigrapError, "^the data are not there$"),
        (
            "kill",
            1,
            launch.RankDied,
            "rank 1 of the run was ended by SIGKILL, most likely for lack of memory; the",
        ),
        ("exit", 0, launch.RankFailed, "rank 0 of the run ended with exit code 3"),
    ],
)
def test_what_ends_a_rank(how, rank, error, message):
    with pytest.raises(error, match=message):
        launch.start(2, ending, how, rank)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["test", "after the fit"])
def test_a_rank_that_fails_after_the_fit_ends_the_run(small, tmp_path, where):
    """Within a minute, with its traceback, which the run's folder keeps, though the first rank ends by a lost one."""
    cfg = small("optim=wise_ft", "trainer.epochs=1", "trainer.micro_batch=16")
    with pytest.raises(launch.RankFailed, match=r"rank 1 of the run failed:[^$]*Division.*in a hook"):
        launch.start(2, ranks.crashing, cfg, tmp_path / "run", where)
    kept = [path.read_text() for path in tmp_path.glob("*/error.txt")]
    assert len(kept) == 1 and "in a hook" in kept[0].splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank_and_the_same_command_resumes(small_arguments, tmp_path, number):
    """The run saves its step and leaves with the exit code of a run in one process; then it ends as undisturbed."""
    words = ["train.py", *small_arguments, *TWENTY, *ranks.TWO, "log_every=1"]
    cut, whole = (f"hydra.run.dir={tmp_path / name}" for name in ("cut", "whole"))
    process = subprocess.Popen([sys.executable, *words, cut], cwd=REPO, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 600  # on a machine that others keep busy
    while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert log.exists() and log.stat().st_size, "a step has been made"
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, errors
    assert "was saved in" in errors and "Traceback" not in errors
    for place in (cut, whole):
        done = call(*words, place)
        assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "cut", tmp_path / "whole", 0)


@pytest.mark.slow
def test_two_ranks_are_one_process(small, tmp_path):
    """In float64, after 20 steps; cut after 6 steps, the run goes on in either number of processes."""
    cfgs = {name: small(*TWENTY, f"optim={name}", "trainer.micro_batch=16") for name in ("digrap", "spd", "ftp")}
    moved = small(*TWENTY, "trainer.micro_batch=16", "trainer.checkpoint_minutes=0")
    jobs = [(cfg, tmp_path / "two" / name, None) for name, cfg in cfgs.items()]
    jobs += [
        (moved, tmp_path / "moved", 6),
        (moved, tmp_path / "stayed", 6),
        (cfgs["digrap"], tmp_path / "stayed", None),
    ]
    assert launch.start(2, ranks.make, jobs) == "2 ranks"
    engine.run(cfgs["digrap"], tmp_path / "moved")
    for name, cfg in cfgs.items():
        engine.run(cfg, tmp_path / "one" / name)
        assert_close(tmp_path / "two" / name, tmp_path / "one" / name, 1e-6)
    for name in ("moved", "stayed"):
        assert_close(tmp_path / name, tmp_path / "one" / "digrap", 1e-6)
    assert [results(tmp_path / name)["processes"] for name in ("moved", "stayed")] == [1, 2]


@pytest.mark.slow
def test_two_ranks_are_one_process_with_batch_norm(small, tmp_path):
    """Micro-batches are the same ones, and the running statistics those of all of them in turn."""
    cfg = small(*TWENTY, ranks.WITH_NORM, "optim=vanilla", "trainer.micro_batch=8", "trainer.validate_every=4")
    launch.start(2, ranks.make, [(cfg, tmp_path / "two", None)])
    engine.run(cfg, tmp_path / "one")
    two = weights(tmp_path / "two")
    assert two["global_pool.1.num_batches_tracked"] == 80
    assert_close(tmp_path / "two", tmp_path / "one", 1e-6)


@pytest.mark.slow
def test_shards_equal_whole_models(small, tmp_path):
    """trainer.sharding=full: the weights of one process; a run that was cut goes on in shards, in two whole copies, and
    in one process."""
    options, often = (*TWENTY, "trainer.micro_batch=16"), "trainer.checkpoint_minutes=0"
    names = ("digrap", "spd", "ftp", "vanilla")
    cfgs = {name: small(*options, f"optim={name}", "trainer.sharding=full") for name in names}
    cut, whole = small(*options, "trainer.sharding=full", often), small(*options, often)
    jobs = [(cfg, tmp_path / "shards" / name, None) for name, cfg in cfgs.items()]
    jobs += [(cut, tmp_path / name, 6) for name in ("stayed", "whole", "one")]
    jobs += [(whole, tmp_path / "back", 6)]
    jobs += [
        (cfg, tmp_path / name, None)
        for name, cfg in (("stayed", cfgs["digrap"]), ("whole", small(*options)), ("back", cfgs["digrap"]))
    ]
    launch.start(2, ranks.make, jobs)
    engine.run(small(*options), tmp_path / "one")
    for name, cfg in cfgs.items():
        engine.run(cfg, tmp_path / "single" / name)
        assert_close(tmp_path / "shards" / name, tmp_path / "single" / name, 1e-6)
    for name in ("stayed", "whole", "one", "back"):
        assert_close(tmp_path / name, tmp_path / "single" / "digrap", 1e-6)
    layers = [[event["tensors"] for event in metrics(tmp_path / kind / "digrap") if event["event"] == "layers"]
              for kind in ("shards", "single")]  # fmt: skip
    for ours, theirs in zip(*layers, strict=True):
        for name in theirs:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-8)


@pytest.mark.slow
def test_a_transformer_is_cut_block_by_block():
    found = launch.start(2, ranks.sharded_tensors)
    assert all(found["parts"].values()) and not any(found["unsharded"].values())
    assert found["blocks"] > 3
    assert found["sha256"] == tensors_sha256(tiny("tiny_paligemma").module.state_dict())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim=tpgm", "optim=tpgm changes whole weights after its steps or its fit; leave trainer.sharding out"),
        ("trainer.precision=fp16", "give trainer.precision=bf16, or leave trainer.sharding out"),
    ],
)
def test_what_does_not_go_with_shards(small, tmp_path, override, message):
    with pytest.raises(DigrapError, match=message):
        engine.run(small("trainer.sharding=full", override), tmp_path)


def test_the_batch_is_the_recipes(small):
    """The advised micro-batch divides."""
    trainer = small("trainer.batch_size=96", "trainer.micro_batch=64").trainer
    with pytest.raises(DigrapError, match=r"not a multiple of trainer.micro_batch=64 × 2 processes; give .*=48$"):
        micro_batch(trainer, 2)
    trainer.micro_batch = 48
    assert micro_batch(trainer, 2) == 48
    with pytest.raises(DigrapError, match="give a batch_size that is a multiple of 5"):
        micro_batch(trainer, 5)


@pytest.mark.parametrize("override", ["trainer.devices=0", "trainer.sharding=half"])
def test_options_out_of_range(small, override):
    with pytest.raises(DigrapError, match=override):
        typed(small(override))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")])
def test_a_sweep_of_runs_with_two_ranks(small_arguments, tmp_path, launcher):
    """Each run starts its own; one that fails does not end the others."""
    run = call(
        "train.py", "-m", *small_arguments, *ranks.TWO, "trainer.epochs=1", *launcher, "optim.mu=0.1,-1", "seed=3,4",
        f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    done = [path for path in tmp_path.iterdir() if (path / "results.json").exists()]
    assert len(done) == 2 and all(results(path)["processes"] == 2 for path in done), run.stderr
    assert run.returncode == 2 and "Invalid mu: mu=-1" in run.stderr


@pytest.mark.slow
def test_evaluation_on_two_ranks(small_arguments, tmp_path):
    folder = tmp_path / "run"
    words = [*small_arguments, *ranks.TWO, "trainer.epochs=1", f"hydra.run.dir={folder}"]
    assert call("train.py", *words).returncode == 0
    scored = call("evaluate.py", f"run={folder}", "device=cpu", "trainer.devices=2", "split=sketch")
    assert scored.returncode == 0, scored.stderr
    assert f'"accuracy": {results(folder)["scores"]["sketch"]["accuracy"]:.2f}' in scored.stdout
    assert [path.name for path in folder.rglob("*.log")] == ["train.log"]
    text = (folder / "train.log").read_text()
    assert text.count("test sketch: 45 examples in") == 1, "the other ranks write nothing there"


@pytest.mark.slow
def test_torchrun_makes_no_sweep(small_arguments, tmp_path):
    """It is refused once, and the advised command works."""
    arguments = [*small_arguments, "trainer.micro_batch=16", "trainer.epochs=1", f"hydra.sweep.dir={tmp_path / 'a b'}"]
    run = started("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "train.py", "-m", *arguments)
    assert run.returncode and run.stderr.count("error: ") == 1
    advised = shlex.split(run.stderr.partition("the whole sweep; ")[2].splitlines()[0])
    assert advised[-1] == "trainer.devices=2"
    assert call(*advised[1:]).returncode == 0
    assert list((tmp_path / "a b").glob("*/results.json"))
