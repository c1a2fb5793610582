"""A smoke run: a few steps of everything, and never taken for a real one."""

import json

import pytest

from digrap.cli.print_sweep import print_sweep
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError, Interrupted
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.engine.loaders import batch_sizes
from digrap.engine.rescore import rescore
from digrap.report.gather import from_outputs
from digrap.report.page.found import finished
from digrap.report.run_list import listed
from digrap.report.sweep_summary import Job
from digrap.runs.folder import RunFolder
from digrap.tables.cost import measured
from tests.engine.runs import metrics, results

SMOKE = "trainer.smoke=true"


@pytest.fixture(scope="module")
def made(small_data, tmp_path_factory):
    """(config, folder) of a smoke run in an outputs tree."""
    from tests.conftest import SMALL, composed

    cfg = composed(*SMALL, f"data_root={small_data}", SMOKE, "trainer.epochs=9", "trainer.validate_every=3")
    folder = tmp_path_factory.mktemp("outputs") / "minidomainnet" / run_hash(cfg)
    engine.run(cfg, folder)
    return cfg, folder


def test_it_takes_a_few_steps_of_everything(made, small):
    cfg, folder = made
    found = RunFolder(folder).results()
    assert found.smoke and found.caveats[0].startswith("smoke run: ")
    assert len(found.scores) == 7 and all(score["n"] == 32 for score in found.scores.values())
    assert RunFolder(folder).facts()["total_steps"] == 4 and found.weights
    assert [record["epoch"] for record in metrics(folder) if record["event"] == "val"] == [1, 2]
    assert run_hash(cfg) != run_hash(small("trainer.epochs=9", "trainer.validate_every=3"))


@pytest.mark.parametrize(
    "optim", ["wise_ft", "zero_shot", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lp_ft", "tpgm"))]
)
def test_every_kind_of_method(small, tmp_path, optim):
    engine.run(small(SMOKE, f"optim={optim}"), tmp_path / "run")
    assert results(tmp_path / "run")["smoke"] is True
    earlier = [folder for folder in tmp_path.iterdir() if folder.name not in ("run", "labels")]
    assert all(results(folder)["smoke"] for folder in earlier)
    assert run_hash(small(SMOKE, f"optim={optim}")) != run_hash(small(f"optim={optim}"))


def test_it_resumes(small, tmp_path, monkeypatch, made):
    cfg, plain = small(SMOKE), Fit._step
    engine.run(cfg, tmp_path / "whole")

    def step(self, *args):
        if self.position.step == 3:
            raise Interrupted(2)
        return plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            engine.run(cfg, tmp_path / "cut")
    assert RunFolder(tmp_path / "cut").checkpoint_steps() == [2]
    engine.run(cfg, tmp_path / "cut")
    assert results(tmp_path / "cut")["scores"] == results(tmp_path / "whole")["scores"]


def test_evaluate_scores_the_same_examples(made, capsys):
    from omegaconf import OmegaConf

    options = dict.fromkeys(("weights", "out", "allow", "bundle"))
    cfg = OmegaConf.create({**options, "run": str(made[1]), "split": "sketch", "edited": False, "device": "cpu"})
    scores = rescore(cfg)["scores"]["sketch"]
    assert scores["accuracy"] == results(made[1])["scores"]["sketch"]["accuracy"] and scores["n"] == 32
    assert "smoke run: " in capsys.readouterr().out


def test_it_is_in_no_list_of_results(made, capsys):
    outputs = made[1].parents[1]
    assert finished(outputs) == ([], []) and measured(outputs, ["minidomainnet"]) == []
    assert listed(made[1]).headline is None and "smoke" in listed(made[1]).own.split()
    print_sweep([Job(("optim=digrap",), made[1]), Job(("optim=vanilla",), made[1])])
    printed = capsys.readouterr().out
    assert "Smoke runs:" in printed and "Best:" not in printed


def test_a_table_refuses_it(demo, outputs):
    """A table of one's own may ask for smoke runs."""
    file = next(outputs.glob("*/*/results.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"smoke": True}))
    with pytest.raises(DigrapError, match="is from a smoke run; remove trainer.smoke=true from the table"):
        from_outputs(demo[0], outputs)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["minivqa", "minidomainnet_ovqa"])
def test_questions(dataset, tmp_path):
    from digrap.config.compose import compose

    engine.run(compose([f"dataset={dataset}", SMOKE, f"data_root={tmp_path}", "device=cpu"]), tmp_path / "run")
    assert results(tmp_path / "run")["smoke"] is True


@pytest.mark.parametrize(("examples", "world", "sizes"), [(300, 1, (256, 64)), (255, 1, (64, 64)), (10, 1, (5, 5)),
                                                          (10, 2, (4, 2)), (2, 2, (2, 1))])  # fmt: skip
def test_batches_of_what_there_is(small, examples, world, sizes):
    trainer = small(SMOKE, "trainer.batch_size=256", "trainer.micro_batch=64").trainer
    assert batch_sizes(trainer, examples, world) == sizes
    with pytest.raises(DigrapError, match="trainer.batch_size=2 is more than the 1 example to train on"):
        batch_sizes(trainer, 1, 2)


def test_a_handful_of_data_takes_smaller_batches(small, tmp_path, caplog):
    caplog.set_level("INFO")
    few = ["dataset.splits.real_train.size=9", "trainer.batch_size=256", "trainer.micro_batch=3"]
    engine.run(small(SMOKE, *few), tmp_path / "run")
    assert "9 training pictures in 45 classes, 3 steps per epoch (batch size 3 instead of 256), " in caplog.text
    with pytest.raises(DigrapError, match="trainer.batch_size=256 is more than the 9 examples to train on"):
        engine.run(small(*few), tmp_path / "real")
