"""A dataset's caveats, protocol and leakage go with every result."""

import json
from dataclasses import replace

from omegaconf import OmegaConf

from digrap.data.mini import domainnet
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from tests.engine.runs import results

CAVEAT = "validation is in the training set"
LEAKS = {
    "real": {"questions": 45, "by_id": 45, "by_text": 1, "questions_leaked": 45, "pictures": 9, "pictures_leaked": 9}
}


def build_leaking(**options):
    """The miniature with a report of leakage."""
    about = {"training_questions": 192, "leaks": LEAKS, "problems": {}}
    return replace(domainnet.build(**options), protocol="paper, sample=lists", caveats=(CAVEAT,), about=lambda: about)


def test_caveats_of_a_dataset_go_into_its_results(small, tmp_path, capsys):
    plain, leaking = small("optim=zero_shot"), small("optim=zero_shot", f"dataset._target_={__name__}.build_leaking")
    engine.run(plain, tmp_path / "plain")
    assert "caveats" not in results(tmp_path / "plain") and not (tmp_path / "plain" / "data.json").exists()
    assert CAVEAT not in capsys.readouterr().out

    engine.run(leaking, tmp_path / "leaking")
    result, printed = results(tmp_path / "leaking"), capsys.readouterr().out
    assert result["caveats"] == [CAVEAT] and result["protocol"] == "paper, sample=lists"
    kept = json.loads((tmp_path / "leaking" / "data.json").read_text())
    assert kept["leaks"] == LEAKS and kept["caveats"] == [CAVEAT]
    assert printed.count(f"! {CAVEAT}") == 2
    assert "Test examples that occur in the training set:\n\u250f" in printed, "the table follows its title"


def test_evaluate_prints_caveats(small, capsys):
    cfg = small("optim=zero_shot", f"dataset._target_={__name__}.build_leaking")
    OmegaConf.set_struct(cfg, False)
    rescore(OmegaConf.merge(cfg, {"run": None, "split": "sketch", "out": None, "bundle": None}))
    assert json.loads(capsys.readouterr().out)["caveats"] == [CAVEAT]
