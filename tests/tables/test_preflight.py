"""A sweep whose runs lack data, weights or a package says so once, before any of them begins."""

import re

import huggingface_hub
import pytest
from huggingface_hub import constants

from digrap.config.compose import compose
from digrap.core.files import write_json
from digrap.engine.preflight import Preflight
from digrap.tables.missing_runs import Plan
from digrap.tables.spec import load_table
from tests.data import make_vqa
from tests.doors import call

VQA = """
title: lacking
overrides: [dataset=vqav2]
seeds: [100, 101]
rows:
  zero-shot: [optim=zero_shot]
  full FT: {overrides: [optim=vanilla, peft=none], grid: {trainer.base.lr: [1e-5, 1e-4]}}
  WiSE-FT: {overrides: [optim=wise_ft], start: full FT}
"""
ADVICE = "scripts/download.py dataset=vqa_all"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "lacking.yaml"
    path.write_text(VQA)
    return path


def left_in(folder):
    """What a sweep has written, but for the folder that Hydra makes for its own log."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_table_without_data_asks_once_and_leaves_nothing(table, tmp_path):
    place = [f"data_root={tmp_path / 'none'}", f"outputs={tmp_path / 'outputs'}"]
    single = call("train.py", "dataset=vqav2", *place)
    run = call("train.py", "-m", f"table={table}", *place)
    assert (single.returncode, run.returncode) == (2, 2)
    message = single.stderr.removeprefix("error: ").strip()
    assert ADVICE in message
    assert run.stderr.strip() == f"error: table=lacking: no run can start:\n  {message}"
    assert ADVICE not in run.stdout and not left_in(tmp_path / "outputs")
    assert not (tmp_path / "best").exists()


def test_a_sweep_over_values_asks_once_too(tmp_path):
    place = [f"data_root={tmp_path / 'none'}", f"outputs={tmp_path / 'outputs'}"]
    run = call("train.py", "-m", "dataset=vqav2", "optim=vanilla,digrap", *place)
    assert run.returncode == 2 and run.stderr.count(ADVICE) == 1 and ADVICE not in run.stdout
    assert run.stderr.startswith("error: no run can start:\n  dataset=vqav2: no files under")
    assert not left_in(tmp_path / "outputs")


def test_runs_that_lack_nothing_are_made_all_the_same(small_arguments, tmp_path):
    small = [word for word in small_arguments if word.startswith("dataset.splits.")]
    place = tmp_path / "outputs"
    path = tmp_path / "mixed.yaml"
    words = ["dataset=minidomainnet", *small]
    path.write_text(f"""
title: t
overrides: [optim=zero_shot]
seeds: [1]
rows: {{here: {words}, not: [dataset=vqav2], neither: [dataset=vqav2, peft=none]}}
""")
    run = call("train.py", "-m", f"table={path}", "device=cpu", f"data_root={tmp_path}", f"outputs={place}")
    assert run.returncode == 2 and "2 runs cannot start, the others go on: dataset=vqav2: no files" in run.stdout
    assert "table=mixed: 2 runs failed" in run.stderr and run.stderr.count(ADVICE) == 1
    assert len(re.findall("(?m)^  python train.py .*dataset=vqav2 .*seed=1 outputs=", run.stderr)) == 2
    assert len(list(place.glob("minidomainnet/*/results.json"))) == 1 and not (place / "vqav2").exists()


def test_finished_runs_need_nothing(table, tmp_path):
    table.write_text(VQA.partition("  full FT")[0])
    plan = Plan(load_table(str(table)), tmp_path / "outputs")
    for cell in plan.ready():
        write_json(cell.folder(plan.outputs) / "results.json", {"untouched": True})
    run = call("train.py", "-m", f"table={table}", f"data_root={tmp_path / 'none'}", f"outputs={plan.outputs}")
    assert run.returncode == 0 and "2 of 2 runs are done" in run.stdout, run.stderr


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Requests to a hub that nobody can reach."""
    requests = []

    def ask(url, **_):
        requests.append(url)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return requests


def test_missing_weights_are_asked_for_once_whatever_the_number_of_runs(asked, tmp_path):
    made, look = make_vqa.make(tmp_path), Preflight()
    for words in (["seed=1"], ["seed=2", "optim=vanilla"], ["peft=none"], ["dataset.protocol=paper"]):
        cfg = compose(["dataset=vqav2", f"data_root={made.data_root}", *words])
        assert "backbone.model=google/paligemma-3b-pt-224: its weights are not complete" in str(look.lacking(cfg))
    assert len(asked) == 1
    other = compose(["dataset=vqav2", "backbone=llava_7b", f"data_root={made.data_root}"])
    assert "llava-1.5-7b-hf" in str(look.lacking(other)) and len(asked) == 2
    assert Preflight(elsewhere=True).lacking(other) is None, "other machines have a cache of their own"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=domainnet"], "no images under"),
        (["dataset=vqav2", "backbone=mini_resnet"], "its task is vqa"),
        (["backbone=clip_vit_b16"], "backbone.model=ViT-B-16-quickgelu: the weights openai .*are not in the cache"),
        (["backbone=clip_vit_b16", "backbone.weights=/no/such.pt"], "backbone.weights=/no/such.pt: there is no such"),
        (["backbone=timm", "backbone.model=resnet18"], "backbone.model=resnet18: its weights are not in the cache"),
        (["backbone=timm", "backbone.model=resnet18", "backbone.weights=/no.pt"], "weights=/no.pt: there is no such"),
        (["backbone=moco_resnet50", "backbone.weights=/no.tar"], "backbone.weights=/no.tar: there is no such file"),
        (["dataset=minivqa", "peft.start=/no/adapters"], "peft.start=/no/adapters: there is no such folder"),
        (["dataset=minivqa", "backbone.weights=/no.safetensors"], "weights=/no.safetensors: there is no such file"),
        (["dataset=minivqa", "optim=digrap"], None),
        ([], None),
    ],
)
def test_what_a_run_lacks(words, message, asked, tmp_path):
    error = Preflight().lacking(compose([*words, f"data_root={tmp_path}"]))
    assert error is None if message is None else re.search(message, str(error)), error
    assert not list(tmp_path.glob("mini*")), "nothing is drawn"
