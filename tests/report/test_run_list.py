"""Lists of runs and the end of a sweep."""

import math

import pytest
from omegaconf import OmegaConf

from digrap.cli import runs
from digrap.cli.print_sweep import print_sweep
from digrap.config.changes import as_words, changes
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.report.run_list import Headline, listed
from digrap.report.sweep_summary import Job, configurations, doubt, shared
from digrap.runs.folder import RunFolder
from tests.synthetic_runs import result

SCORES = {"real_val": ("id_val", 10, 50.0), "real": ("id_test", 10, 60.0), "sketch": ("near_ood", 10, 30.0),
          "quickdraw": ("far_ood", 10, 40.0)}  # fmt: skip


def finish(folder, validation, identity=60.0, seed=0):
    run = RunFolder(folder)
    scores = SCORES | {"real_val": ("id_val", 10, validation), "real": ("id_test", 10, identity)}
    run.write_results(result(scores, seed, folder.name))
    return run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optim=digrap"], ""),
        (["optim=digrap", "optim.mu=3", "seed=4", "trainer.workers=2"], "mu=3"),
        (["optim=vanilla", "trainer.base.lr=3e-4", "dataset.seed=7"], "lr=0.0003 seed=7"),
        (["dataset=minivqa", "optim=vanilla", "peft=none"], "peft=none"),
        (["backbone.weights=/my/own.pth", "data_root=/my"], "weights=/my/own.pth"),
        (["dataset=folder", "backbone=moco_resnet50", "dataset.root=/my", "data_root=/my"], "root=/my"),
        (["optim=lp_ft", "trainer.base.lr=0.5", "++optim.start.trainer.base.lr=0.25"],
         "trainer.base.lr=0.5 optim.start.trainer.base.lr=0.25"),
        (["dataset=vqa_json", "backbone=tiny_llava", "trainer=vqa"], "trainer=vqa"),
        (["dataset=vqa_json", "backbone=tiny_llava", "trainer=vqa", "trainer.smoke=true", "optim.mu=3"],
         "trainer=vqa smoke mu=3"),
        (["dataset=folder", "trainer=mini", "trainer.epochs=3"], "trainer=mini epochs=3"),
        (["trainer.epochs=3", "trainer.base.lr=1"], "lr=1 epochs=3"),
        (["schedule=constant"], "schedule=constant"),
        (["schedule=lavis", "schedule.warmup_steps=5"], "schedule=lavis warmup_steps=5"),
        (["optim=file", "optim.file=README.md", "+optim.options.keep=0.25"], "file=README.md keep=0.25"),
    ],
)  # fmt: skip
def test_what_differs_from_the_defaults(overrides, words):
    assert as_words(changes(OmegaConf.to_container(compose(overrides)))) == words


def test_of_what_no_defaults_are_known_there_are_no_differences():
    plain = OmegaConf.to_container(compose([]))
    plain["dataset"]["name"] = "mine"
    assert changes(plain) is None


def test_a_finished_run_as_a_line(tmp_path):
    folder = tmp_path / "minidomainnet" / "0123456789"
    run = finish(folder, 51.25, seed=3)
    run.write_config(compose(["optim=digrap", "optim.mu=3", "seed=3"]))
    line = listed(folder)
    assert line.texts(line.changed + 120) == [
        "minidomainnet/0123456789", "digrap", "mu=3", "3", "done", "51.2", "60.0", "35.0", "2 min"
    ]  # fmt: skip


def test_a_run_of_an_own_class_is_found_by_both_names(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "minidomainnet" / "0123456789"
    run = finish(folder, 50.0)
    run.write_results(result(SCORES, 0, folder.name, method="Pull"))
    run.write_config(compose(["optim=file", "optim.file=README.md"]))
    for name in ("file", "Pull"):
        monkeypatch.setattr("sys.argv", ["runs.py", f"method={name}", f"outputs={tmp_path}"])
        runs.main()
        assert "0123456789" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["runs.py", "method=digrap", f"outputs={tmp_path}"])
    with pytest.raises(DigrapError, match="none of 1 runs matches"):
        runs.main()


def test_what_is_damaged_and_what_is_no_run(tmp_path):
    folder = tmp_path / "minidomainnet" / "0123456789"
    folder.mkdir(parents=True)
    assert listed(folder) is None
    (folder / "results.json").write_text("{")
    assert listed(folder).state == "damaged" and listed(folder).headline is None
    run = RunFolder(folder.with_name("1123456789"))
    run.write_config(compose([]))
    assert listed(run.path).state == "pending"


def test_a_split_without_the_metric_has_no_mean(tmp_path):
    run = finish(tmp_path / "0123456789", 1.0)
    results = run.results()
    del results.scores["sketch"]["accuracy"]
    assert math.isnan(results.mean(("near_ood", "far_ood"))) and results.mean(("far_ood",)) == 40.0
    assert math.isnan(Headline.of(results).ood)


def test_configurations_are_ranked_by_validation_and_seeds_are_one(tmp_path):
    jobs = []
    for place, (mu, seed, validation) in enumerate([(0.1, 0, 50), (0.1, 1, 54), (1, 0, 60), (1, 1, 62), (5, 0, None)]):
        folder = tmp_path / f"{place:010d}"
        if validation is not None:
            finish(folder, validation, 60 + seed)
        jobs.append(Job(("optim=digrap", f"optim.mu={mu}", f"seed={seed}", "wait=true"), folder))
    ranked = configurations(jobs)
    assert [one.texts() for one in ranked] == [
        ["optim.mu=1", "61.0 ± 1.4", "60.5 ± 0.7", "35.0 ± 0.0", "2"],
        ["optim.mu=0.1", "52.0 ± 2.8", "60.5 ± 0.7", "35.0 ± 0.0", "2"],
        ["optim.mu=5", "—", "—", "—", "0 (1 failed)"],
    ]
    assert shared(ranked) == ("optim=digrap",)
    assert ranked[0].command == "python train.py optim=digrap optim.mu=1"


def test_one_configuration_and_its_seeds(tmp_path):
    jobs = [Job(("optim=digrap", f"seed={seed}"), finish(tmp_path / f"{seed:010d}", 50 + seed).path) for seed in (0, 1)]
    (one,) = configurations(jobs)
    assert one.texts()[0] == "the only one" and shared([one]) == ("optim=digrap",)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([72.7, 73.9], [72.8, 73.8], "Its lead over the second, 0.0, is within the seeds' spread (± 0.8)."),
        ([73.0, 73.2], [70.0, 75.0], "within the seeds' spread (± 3.5)"),
        ([73.0, 73.2], [70.0, 70.4], ""),
        ([73.0], [70.0], "Its lead over the second, 3.0, is of one seed; seed=0,1,2 shows"),
        ([73.0], [70.0, 75.0], "within the seeds' spread"),
        ([73.0], [], ""),
    ],
)
def test_a_lead_that_the_seeds_may_have_made_is_called_one(first, second, said, tmp_path, capsys):
    jobs = []
    for mu, scores in ((1, first), (2, second or [None])):
        for seed, score in enumerate(scores):
            folder = tmp_path / f"{mu}{seed:09d}"
            if score is not None:
                finish(folder, score, seed=seed)
            jobs.append(Job((f"optim.mu={mu}", f"seed={seed}"), folder))
    found = doubt(configurations(jobs))
    assert said in found and bool(found) == bool(said)
    print_sweep(jobs)
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(found or "Best: python train.py optim.mu=1")
