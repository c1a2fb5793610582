"""What earlier starts left in a run's folder: damaged weights, another run, remains of kills, commits."""

import itertools
import re
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from digrap.config.compose import start_config
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.core.paths import OUTPUTS
from digrap.engine import checkpoint, provenance
from digrap.engine import run as engine
from digrap.engine.evaluate import Evaluator
from digrap.engine.rescore import rescore, write_whole_model
from digrap.runs.export import export
from digrap.runs.folder import RunFolder
from tests.engine.runs import crash_at, repeatable, results


def overwrite(file):
    data = bytearray(file.read_bytes())
    data[-2000:-1000] = bytes(1000)
    file.write_bytes(data)


def flip(file):
    data = bytearray(file.read_bytes())
    data[-10] ^= 1
    file.write_bytes(data)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1000])


DAMAGE = [overwrite, flip, truncate, Path.unlink]


def everything(folder):
    """{path: content} of a folder's files, without the lock."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


def interrupt(monkeypatch, cfg, folder, step):
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, folder)


def interrupt_variants(monkeypatch, cfg, folder, count):
    """Make a run that is interrupted when `count` of its variants are tested."""
    score, calls = Evaluator.score, []

    def killed(self, *args, **kwargs):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(0)
        return score(self, *args, **kwargs)

    engine.run(start_config(cfg), folder.parent / run_hash(start_config(cfg)))
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, folder)


def follow(error):
    """Do what the message advises: delete the folder that it names."""
    shutil.rmtree(re.search(r"; delete (\S+) to ", str(error))[1])


def test_damaged_best_weights_of_a_stopped_run(small, tmp_path, monkeypatch):
    """Both checkpoints refer to the one file: the advice is to train afresh."""
    cfg = small("optim=vanilla", "trainer.checkpoint_minutes=0")
    monkeypatch.setattr(Evaluator, "validate", lambda self, module, data: 50.0)  # the first epoch stays the best
    engine.run(cfg, tmp_path / "whole")
    interrupt(monkeypatch, cfg, tmp_path / "cut", 9)
    best = tmp_path / "cut" / "checkpoints" / "best-epoch-0001.safetensors"
    good = best.read_bytes()
    for damage in DAMAGE:
        best.write_bytes(good)
        damage(best)
        before = everything(tmp_path / "cut" / "checkpoints")
        with pytest.raises(DigrapError, match=rf"{best} is (damaged|missing).*; delete .*checkpoints to tra") as caught:
            engine.run(cfg, tmp_path / "cut")
        assert everything(tmp_path / "cut" / "checkpoints") == before
        assert not (tmp_path / "cut" / "results.json").exists()
    follow(caught.value)
    engine.run(cfg, tmp_path / "cut")
    assert repeatable(tmp_path / "cut") == repeatable(tmp_path / "whole")


@pytest.mark.slow
def test_an_older_checkpoint_with_whole_weights_is_advised(small, tmp_path, monkeypatch):
    scores = {1: 50.0, 2: 90.0, 3: 20.0}
    monkeypatch.setattr(Evaluator, "validate", lambda self, module, data: scores[len(calls.append(0) or calls)])
    cfg, calls = small("optim=vanilla", "trainer.epochs=3"), []
    engine.run(cfg, tmp_path / "whole")
    calls.clear()
    interrupt(monkeypatch, cfg, tmp_path / "cut", 14)
    flip(tmp_path / "cut" / "checkpoints" / "best-epoch-0002.safetensors")
    with pytest.raises(DigrapError, match=r"delete \S*step-00000012 to resume from \S*step-00000006") as caught:
        engine.run(cfg, tmp_path / "cut")
    follow(caught.value)
    del calls[1:]  # epoch 2 is validated again
    engine.run(cfg, tmp_path / "cut")
    assert repeatable(tmp_path / "cut") == repeatable(tmp_path / "whole")


def test_damaged_weights_of_a_finished_run_are_never_read(small, tmp_path):
    cfg = small("optim=wise_ft", "optim.curve=[]", "trainer.epochs=1")
    other = small("optim=wise_ft", "optim.curve=[0.5]", "trainer.epochs=1")
    engine.run(cfg, tmp_path / "wise")
    start = tmp_path / run_hash(start_config(cfg))
    options = {"split": "sketch", "out": None, "bundle": None, "allow": None, "edited": False, "device": "cpu"}
    for folder, damage in itertools.product((tmp_path / "wise", start), DAMAGE):
        file, evaluation = folder / results(folder)["weights"], OmegaConf.create({"run": str(folder), **options})
        assert results(folder)["weights_sha256"] == sha256(file)
        whole = file.read_bytes()
        damage(file)
        for reads in (lambda: rescore(evaluation), lambda: export(folder, tmp_path / "out", ("a",), None)):  # noqa: B023
            with pytest.raises(DigrapError, match=rf"{file} is (damaged|missing).*; delete {folder} and train"):
                reads()
        if folder == start:
            with pytest.raises(DigrapError, match=f"delete {start} and train"):
                engine.run(other, tmp_path / "other")
        file.write_bytes(whole)
    assert not (tmp_path / "out").exists()


def test_an_exported_file_is_checked(small, tmp_path):
    cfg = small("optim=vanilla", "trainer.epochs=1")
    engine.run(cfg, tmp_path / "run")
    weights = RunFolder(tmp_path / "run").weights()
    export(tmp_path / "run", tmp_path / "out", ("a",), lambda file: write_whole_model(cfg, ("a",) * 45, weights, file))
    flip(RunFolder(tmp_path / "out").weights())
    with pytest.raises(DigrapError, match="model.safetensors is damaged"):
        RunFolder(tmp_path / "out").weights()


@pytest.mark.slow
def test_damaged_weights_of_the_chosen_variant_are_written_again(small, tmp_path, monkeypatch):
    cfg = small("optim=wise_ft", "optim.alpha=0.5", "optim.curve=[0,1]", "trainer.epochs=1")
    engine.run(cfg, tmp_path / "whole")
    interrupt_variants(monkeypatch, cfg, tmp_path / "cut", 2)
    for damage in (overwrite, Path.unlink):
        cut = shutil.copytree(tmp_path / "cut", tmp_path / damage.__name__)
        damage(cut / "checkpoints" / "after-fit.safetensors")
        engine.run(cfg, cut)
        assert repeatable(cut) == repeatable(tmp_path / "whole")
        assert RunFolder(cut).weights().exists()


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_of_another_run_is_refused(small, tmp_path, monkeypatch, finished):
    first = small("optim=vanilla", "trainer.epochs=1", "trainer.checkpoint_minutes=0")
    engine.run(first, tmp_path) if finished else interrupt(monkeypatch, first, tmp_path, 3)
    before = everything(tmp_path)
    with pytest.raises(DigrapError, match=r"holds run \w{10}, .*; seed=1, there 0\); give another hydra.run.dir"):
        engine.run(small("optim=vanilla", "trainer.epochs=1", "seed=1"), tmp_path)
    with pytest.raises(DigrapError, match=r"holds run \w{10}"):  # its scores are not to be compared with those there
        engine.run(small("optim=vanilla", "trainer.epochs=1", "seed=1", "fresh=true"), tmp_path)
    assert everything(tmp_path) == before
    engine.run(small("optim=vanilla", "trainer.epochs=1", "trainer.eval_batch_size=45"), tmp_path)  # the same run


@pytest.mark.slow
def test_variants_of_another_run_are_refused(small, tmp_path, monkeypatch):
    words = ("optim=wise_ft", "optim.curve=[0.2,0.9]", "trainer.epochs=1")
    cfg = small(*words)
    interrupt_variants(monkeypatch, cfg, tmp_path / "mine", 2)
    with pytest.raises(DigrapError, match=r"optim.alpha=0.3, there"):
        engine.run(small(*words, "optim.alpha=0.3"), tmp_path / "mine")
    config = tmp_path / "mine" / "config.yaml"
    whole = config.read_text()
    for damaged in (whole[: len(whole) // 2], "optim: 3", "{"):
        config.write_text(damaged)
        with pytest.raises(
            DigrapError, match=r"config.yaml does not tell which run the folder .*; delete \S*variants.json"
        ):
            engine.run(cfg, tmp_path / "mine")
    config.unlink()
    with pytest.raises(DigrapError, match="does not tell"):
        engine.run(cfg, tmp_path / "mine")
    (tmp_path / "mine" / "variants.json").unlink()
    engine.run(cfg, tmp_path / "mine")
    assert set(results(tmp_path / "mine")["variants"]) == {"0.2", "0.5", "0.9"}


def test_a_folder_whose_first_start_failed_takes_another_run(small, tmp_path):
    with pytest.raises(DigrapError, match="micro_batch"):
        engine.run(small("trainer.micro_batch=24"), tmp_path)
    engine.run(small("optim=zero_shot"), tmp_path)


FOREIGN = ("notes.txt", ".mine.tmp", "checkpoints/best-epoch-0001.copy.safetensors", "checkpoints/step-by-step/a.md")


def foreign(folder):
    """Files of the user's in a run folder."""
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return lambda: all((folder / name).read_text() == "mine" for name in FOREIGN)


def promised():
    """The names in the table of outputs/README.md."""
    return set(re.findall(r"^\| `([^`]+?)/?` ", (OUTPUTS / "README.md").read_text(), flags=re.MULTILINE))


def test_a_finished_folder_holds_what_is_promised(small, tmp_path, monkeypatch):
    """Where the last epoch is the best one, and under what follows the fit."""
    scores = iter([10.0, 20.0] * 2)
    monkeypatch.setattr(Evaluator, "validate", lambda self, module, data: next(scores))
    for name in ("vanilla", "tpgm"):
        engine.run(small(f"optim={name}"), tmp_path / name)
        weights = Path(results(tmp_path / name)["weights"])
        assert [path.name for path in (tmp_path / name / "checkpoints").iterdir()] == [weights.name]
        assert {path.name for path in (tmp_path / name).iterdir()} <= promised() | {".lock"}


def test_the_next_start_removes_what_a_kill_left(small, tmp_path, monkeypatch):
    cfg = small("optim=vanilla")
    interrupt(monkeypatch, cfg, tmp_path, 8)
    (tmp_path / "checkpoints" / ".step-00000008.tmp").mkdir()
    for name in (".results.json.a1b2.tmp", "checkpoints/.best-epoch-0002.safetensors.x_1.tmp",
                 "checkpoints/.step-00000008.tmp/state.pt", ".predictions.npz.cc.tmp"):  # fmt: skip
        (tmp_path / name).write_bytes(b"half")
    whole = foreign(tmp_path)
    engine.run(cfg, tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert whole() and not any("tmp" in name for name in left - set(FOREIGN))
    assert [name for name in left - set(FOREIGN) if "checkpoints" in name] == [results(tmp_path)["weights"]]


def test_a_run_killed_after_its_results_is_tidied(small, tmp_path, monkeypatch):
    cfg = small("optim=vanilla")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "tidy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path)
    assert checkpoint.folders(tmp_path / "checkpoints")
    whole = foreign(tmp_path)
    engine.run(cfg, tmp_path)
    assert not checkpoint.folders(tmp_path / "checkpoints") and RunFolder(tmp_path).weights().exists() and whole()


@pytest.mark.parametrize(
    ("starts", "wanted"),
    [
        ([("a", True), ("a", False)], {"commit": "a", "dirty": True}),
        ([("a", False), ("b", False)], {"commit": "b", "dirty": False, "commits": ["a", "b"]}),
        ([("a", None), ("a", False)], {"commit": "a", "dirty": None}),
        ([("a", False), ("a", False)], {"commit": "a", "dirty": False}),
    ],
)
def test_commits_of_all_starts_are_kept(small, tmp_path, monkeypatch, starts, wanted):
    made = iter([dict(zip(("commit", "dirty"), start, strict=True)) for start in starts])
    monkeypatch.setattr(provenance, "commit", lambda: next(made))
    interrupt(monkeypatch, small("optim=vanilla"), tmp_path, 8)
    engine.run(small("optim=vanilla"), tmp_path)
    found = results(tmp_path)
    assert {key: found[key] for key in ("commit", "dirty", "commits") if key in found} == wanted
    assert [start["commit"] for start in RunFolder(tmp_path).facts()["starts"]] == [commit for commit, _ in starts]


def test_a_start_that_left_nothing_does_not_count(small, tmp_path, monkeypatch):
    made = iter([{"commit": "a", "dirty": True}, {"commit": "a", "dirty": False}])
    monkeypatch.setattr(provenance, "commit", lambda: next(made))
    interrupt(monkeypatch, small("optim=vanilla"), tmp_path, 2)
    engine.run(small("optim=vanilla"), tmp_path)
    assert results(tmp_path)["dirty"] is False


def test_lost_facts_make_the_commit_unknown(small, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: {"commit": "a", "dirty": False})
    interrupt(monkeypatch, small("optim=vanilla"), tmp_path, 8)
    (tmp_path / "run.json").write_text("{")
    engine.run(small("optim=vanilla"), tmp_path)
    assert results(tmp_path)["dirty"] is None and results(tmp_path)["commits"][0] == "unknown"


def test_labels_that_a_kill_left_half_written_are_removed_by_their_run(small, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    mine, other = labels / ".0123456789.npz.mine.a1.tmp", labels / ".0123456789.npz.other.a1.tmp"
    mine.touch()
    other.touch()
    engine.run(small("optim=zero_shot"), tmp_path / "mine")
    assert not mine.exists() and other.exists()
