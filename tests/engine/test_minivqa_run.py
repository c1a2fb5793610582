"""minivqa through the engine: one run on all of its splits."""

from dataclasses import asdict

import pytest

from digrap.config.compose import compose
from digrap.engine import run as engine
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import read_bundle
from tests.data.minivqa import TINY
from tests.engine.runs import results

SMALL = (
    "dataset=minivqa", "backbone.pretrained=false", "trainer.epochs=1", "trainer.batch_size=20",
    "trainer.micro_batch=20", "device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("minivqa")
    sizes = [f"dataset.sizes.{name}={size}" for name, size in asdict(TINY).items()]
    cfg = compose([*SMALL, *sizes, f"data_root={root}"])
    engine.run(cfg, root / "run")
    return root / "run", cfg


def test_every_set_is_scored_under_its_kind(finished):
    folder, cfg = finished
    result = results(folder)
    kinds = {name: options["kind"] for name, options in cfg.dataset.splits.items() if options["kind"] != "id_train"}
    assert {name: scores["kind"] for name, scores in result["scores"].items()} == kinds
    assert list(kinds.values()).count("near_ood") == 6 and list(kinds.values()).count("far_ood") == 3
    assert result["metric"] == "official2021" and result["dataset"] == "minivqa"


def test_the_bundle_names_questions_as_the_official_files_do(finished):
    folder, _ = finished
    bundle = read_bundle(RunFolder(folder).predictions_file, folder.parent)
    assert all("/" in name for name in bundle.ids("iv_vqa"))  # <question>/<picture without an object>
    assert bundle.ids("vizwiz")[0] == "VizWiz_val_00000000.jpg"
