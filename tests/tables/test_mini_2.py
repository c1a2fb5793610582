"""Table 2 in miniature: a small version with rows of its own runs through the sweeper, is published and verifies."""

import json

import pytest
from omegaconf import OmegaConf

from digrap.core.paths import CONFIGS
from digrap.report.publish import publish
from digrap.report.scores import gather
from digrap.report.verify import verify_table
from digrap.tables import spec
from digrap.tables.spec import load_table
from tests.conftest import SMALL
from tests.doors import call

COLUMNS = ["real", "clipart", "sketch", "painting", "infograph", "quickdraw", "OOD mean"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two rows of the table with few pictures, two epochs and one seed, run by the sweeper."""
    root = tmp_path_factory.mktemp("mini_2")
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tables" / "mini_2.yaml"))
    plain["overrides"] += [*SMALL, f"data_root={root}"]
    plain["seeds"], plain["rows"] = [0], {"zero-shot": plain["rows"]["zero-shot"], "vanilla": ["optim=vanilla"]}
    file = root / "configs" / "tables" / "small_2.yaml"
    file.parent.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(plain), file)
    place = root / "outputs" / "minidomainnet_ovqa"
    return root, call("train.py", "-m", f"table={file}", f"hydra.sweep.dir={place}")


@pytest.mark.slow
def test_it_runs_and_is_published_and_verified_by_any_score(made, tmp_path, monkeypatch):
    root, run = made
    assert run.returncode == 0, run.stderr
    for file in root.glob("outputs/*/*/results.json"):  # runs of a changed checkout count as committed ones
        file.write_text(json.dumps(json.loads(file.read_text()) | {"dirty": False}))
    monkeypatch.setattr(spec, "CONFIGS", root / "configs")
    for scorer, metric in ((None, "EM"), ("Cont", "Cont")):
        scores = gather(load_table("small_2", scorer=scorer), root / "outputs")
        assert scores.missing == [] and scores.printed == COLUMNS
        assert {run.scorer(scorer) for run in scores.runs} == {metric}
    place, _ = publish(gather(load_table("small_2"), root / "outputs"), {}, tmp_path / "results")
    checked = verify_table(place)
    assert checked.differences == [] and checked.runs == 2
    assert f"| {' | '.join(['real (ID)', *COLUMNS[1:]])} |" in (place / "small_2.md").read_text()
