"""An exported run loads by its own card, gives the run's predictions, and names nothing of this machine."""

import importlib
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.files import sha256
from digrap.core.paths import DATA, REPO
from digrap.engine.build import build_data
from digrap.engine.rescore import rescore
from digrap.engine.run import run
from digrap.runs.export import card, export, portable, read_trained, snippet
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import PREDICTIONS, read_bundle
from tests.conftest import SMALL

FILES = {"README.md", "classes.json", "config.yaml", "model.safetensors", "results.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of DiGraP; its config."""
    root = tmp_path_factory.mktemp("export")
    cfg = compose([*SMALL, f"data_root={root / 'data'}", "optim=digrap", "trainer.epochs=1"])
    folder = root / "outputs" / "minidomainnet" / run_hash(cfg)
    run(cfg, folder)
    return folder, cfg


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    assert export(made[0], out, build_data(made[1]).classes, whole(made[0])) == []
    return out


@pytest.fixture(scope="module")
def script():
    return importlib.import_module("digrap.cli.export")


def whole(folder):
    """Writes the whole model of a run whose weights file has every weight."""
    return lambda file: sha256(shutil.copyfile(RunFolder(folder).weights(), file))


def python_of(readme):
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    return code


def test_its_files(made, exported):
    assert {path.name for path in exported.iterdir()} == FILES
    assert [path.name for path in exported.parent.iterdir()] == ["model"]
    result = json.loads((made[0] / "results.json").read_text())
    assert json.loads((exported / "results.json").read_text()) == {**result, "weights": "model.safetensors"}
    assert sha256(exported / "model.safetensors") == sha256(made[0] / result["weights"])
    assert len(json.loads((exported / "classes.json").read_text())) == 45


def test_the_cards_code_loads_what_was_tested(made, exported, monkeypatch, capsys):
    monkeypatch.chdir(exported)
    names = {}
    exec(python_of(exported / "README.md"), names)
    assert capsys.readouterr().out.strip() in names["classes"]
    bundle = read_bundle(made[0] / PREDICTIONS, made[0].parent)
    data = build_data(made[1]).splits["real"].load()
    images = torch.stack([data[k][0] for k in range(len(data))])
    backbone = names["backbone"]
    with torch.no_grad():
        logits = backbone.module(backbone.batch_transform(images))
    assert logits.argmax(1).tolist() == bundle.answers("real").tolist()


def test_evaluate_takes_the_folder(made, exported):
    changes = {"run": str(exported), "split": "sketch", "out": None, "bundle": None, "device": "cpu"}
    scores = rescore(OmegaConf.create(changes))["scores"]
    assert (
        scores["sketch"]["accuracy"]
        == json.loads((exported / "results.json").read_text())["scores"]["sketch"]["accuracy"]
    )


def test_the_config_is_the_same_run_without_this_machine(made, exported):
    text = (exported / "config.yaml").read_text()
    assert str(REPO) not in text and str(made[1].data_root) not in text
    assert "${digrap.repo:}/data/mini/mini_resnet.safetensors" in text and "${data_root}/minidomainnet" in text
    cfg = typed(OmegaConf.load(exported / "config.yaml"))
    assert run_hash(cfg) == made[0].name and cfg.device == "auto" and cfg.data_root == str(DATA)


def test_the_card(exported):
    text = (exported / "README.md").read_text()
    result = json.loads((exported / "results.json").read_text())
    for part in (
        "# mini_resnet fine-tuned on minidomainnet by digrap, seed 0",
        'digrap, mu = 0.1, lam = 0.0, rule = "conflict", normalize = "rows", omega = null, omega_max = 1.0',
        "| optimizer | adamw, lr = 0.001, weight_decay = 0.0, betas = [0.9, 0.999]",
        "| training | 1 epochs, batches of 32, precision no, schedule cosine |",
        f"| commit | {result['commit']}",
        f"torch {result['versions']['torch']}",
        f"| sketch | near_ood | 45 | {result['scores']['sketch']['accuracy']:.2f} |",
        f"chosen by accuracy on real_val ({result['selection']['score']:.2f} %)",
        "MIT licence",
    ):
        assert part in text, part
    assert "initialised from" not in text and "{" not in text.replace("${", "")


def test_a_start_and_local_changes_are_said(made):
    results, cfg = read_trained(made[0])
    text = card(replace(results, start={"method": "lp", "hash": "0123456789"}, dirty=True), portable(cfg))
    assert "| initialised from | lp, run 0123456789 |" in text and "with local changes" in text


def test_other_folders_of_this_machine_are_reported(made, tmp_path, monkeypatch):
    results, cfg = read_trained(made[0])
    cfg.dataset.root = "/home/me/pictures"
    monkeypatch.setattr("digrap.runs.export.read_trained", lambda *_: (results, cfg))
    assert export(made[0], tmp_path / "out", ["a"], whole(made[0])) == ["dataset.root=/home/me/pictures"]


def test_backbones_without_own_weights_are_built_as_they_are():
    assert "pretrained = False" in snippet(OmegaConf.create({"backbone": {"pretrained": True}, "dataset": {}}))
    text = snippet(OmegaConf.create({"backbone": {"pretrained": "openai"}, "dataset": {}}))
    assert "pretrained" not in text and "(256, 256)" in text


def test_what_is_there_stays(made, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(DigrapError, match="it already exists"):
        export(made[0], tmp_path / "out", ["a"], whole(made[0]))
    (tmp_path / "out" / "mine").unlink()
    export(made[0], tmp_path / "out", ["a"], whole(made[0]))
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_whole_or_not_at_all(made, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("digrap.runs.export.write_text", full)
    with pytest.raises(DigrapError, match="could not be written .*No space left"):
        export(made[0], tmp_path / "out", ["a"], whole(made[0]))
    assert not any(tmp_path.iterdir())


def test_refusals(small, tmp_path):
    with pytest.raises(DigrapError, match="none does not exist; give a run folder"):
        read_trained(tmp_path / "none")
    with pytest.raises(DigrapError, match="is not a run folder"):
        read_trained(tmp_path)
    folder = tmp_path / "0123456789"
    run(small("optim=zero_shot"), folder)
    with pytest.raises(DigrapError, match="optim=zero_shot trained nothing, its weights are the pre-trained mini_resn"):
        read_trained(folder)
    result = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(result | {"start": {"method": "lp", "hash": "0123456789"}}))
    with pytest.raises(DigrapError, match=f"export the run it was tested with, {tmp_path / '0123456789'}"):
        read_trained(folder)
    (folder / "results.json").write_text(json.dumps(result | {"weights": "checkpoints/gone.safetensors"}))
    with pytest.raises(DigrapError, match="gone.safetensors is missing"):
        read_trained(folder)
    (folder / "results.json").write_text("{")
    with pytest.raises(DigrapError, match="results.json is damaged"):
        read_trained(folder)


def test_the_script(made, script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["export.py", f"{made[0]}/", f"out={tmp_path / 'out'}"])
    script.main()
    assert f"written: {tmp_path / 'out'} (1." in capsys.readouterr().out
    monkeypatch.setattr(script, "OUTPUTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["export.py", str(made[0])])
    script.main()
    assert (tmp_path / "exports" / f"minidomainnet-digrap-{made[0].name}" / "README.md").exists()
    monkeypatch.setattr("sys.argv", ["export.py"])
    with pytest.raises(DigrapError, match="which run"):
        script.main()
