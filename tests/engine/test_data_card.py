"""What a dataset says of itself goes with every result: marks, protocol, and what training has of the tests."""

import json
from dataclasses import replace

from omegaconf import OmegaConf

from digrap.data.mini import domainnet
from digrap.engine import run as engine
from digrap.engine.rescore import rescore
from tests.engine.runs import results

MARK = "validation is in the training set"
LEAKS = {
    "real": {"questions": 45, "by_id": 45, "by_text": 1, "questions_leaked": 45, "pictures": 9, "pictures_leaked": 9}
}


def build_marked(**options):
    """The miniature, which says that it leaks."""
    about = {"training_questions": 192, "leaks": LEAKS, "problems": {}}
    return replace(domainnet.build(**options), protocol="paper, sample=lists", caveats=(MARK,), about=lambda: about)


def test_a_marked_dataset_marks_its_results(small, tmp_path, capsys):
    plain, marked = small("optim=zero_shot"), small("optim=zero_shot", f"dataset._target_={__name__}.build_marked")
    engine.run(plain, tmp_path / "plain")
    assert "caveats" not in results(tmp_path / "plain") and not (tmp_path / "plain" / "data.json").exists()
    assert MARK not in capsys.readouterr().out

    engine.run(marked, tmp_path / "marked")
    result, printed = results(tmp_path / "marked"), capsys.readouterr().out
    assert result["caveats"] == [MARK] and result["protocol"] == "paper, sample=lists"
    kept = json.loads((tmp_path / "marked" / "data.json").read_text())
    assert kept["leaks"] == LEAKS and kept["caveats"] == [MARK]
    assert printed.count(f"! {MARK}") == 2 and "Of the tests, training has" in printed


def test_marks_stand_in_what_evaluate_prints(small, capsys):
    cfg = small("optim=zero_shot", f"dataset._target_={__name__}.build_marked")
    OmegaConf.set_struct(cfg, False)
    rescore(OmegaConf.merge(cfg, {"run": None, "split": "sketch", "out": None, "bundle": None}))
    assert json.loads(capsys.readouterr().out)["caveats"] == [MARK]
