"""Run folders from elsewhere, and what is given instead of one: evaluate.py and export run no code from them, read
nothing outside of them, and say what is wrong."""

import json
import re
import shutil
import sys

import pytest
from omegaconf import OmegaConf

from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.engine import run as engine
from digrap.runs.folder import RunFolder
from digrap.runs.predictions import PREDICTIONS, read_bundle
from tests.conftest import SMALL
from tests.engine.runs import evaluate
from tests.synthetic_runs import script

RULE = """
from torch.optim import SGD

class Mine(SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_data):
    """A finished run whose rule came from a file of the user's."""
    root = tmp_path_factory.mktemp("own")
    (root / "rule.py").write_text(RULE)
    options = ["trainer.epochs=1", "optim=file", f"optim.file={root / 'rule.py'}", f"data_root={small_data}"]
    cfg = compose([*SMALL, *options])
    engine.run(cfg, root / "outputs" / "minidomainnet" / run_hash(cfg))
    (root / "rule.py").write_text("raise SystemExit('the file was executed')\n")
    return root / "outputs" / "minidomainnet" / run_hash(cfg)


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished.parent, tmp_path / "minidomainnet")
    return tmp_path / "minidomainnet" / finished.name


def export(*arguments):
    """`python scripts/export.py <arguments>`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        script("export").main()


def change(folder, key, value):
    """Change one value of a folder's config."""
    cfg = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(cfg, key, value, force_add=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))


def refused(folder, *options):
    """The one message with which evaluate.py and export refuse a folder."""
    texts = []
    for call in (lambda: evaluate(f"run={folder}", *options), lambda: export(folder, "out=/never", *options)):
        with pytest.raises(DigrapError) as error:
            call()
        texts.append(str(error.value))
    assert texts[0] == texts[1]
    return texts[0]


def test_a_rule_from_a_file_is_not_executed(finished, tmp_path):
    scores = json.loads((finished / "results.json").read_text())["scores"]
    assert evaluate(f"run={finished}")["scores"]["sketch"]["accuracy"] == scores["sketch"]["accuracy"]
    export(finished, f"out={tmp_path / 'out'}")


def test_no_code_of_a_folder_is_run(folder, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    change(folder, "dataset", {"_target_": "subprocess.check_output", "args": ["touch", str(victim)]})
    text = refused(folder)
    assert text.startswith(f"{folder / 'config.yaml'}: dataset._target_=subprocess.check_output is not")
    assert text.endswith("add allow=subprocess.check_output") and not victim.exists()


def test_code_that_the_user_allows_is_run(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sets_of_mine.py").write_text("from digrap.data.mini import domainnet\ndef build(**options):\n"
                                              "    return domainnet.build(**options)\n")  # fmt: skip
    change(folder, "dataset._target_", "sets_of_mine.build")
    cfg = RunFolder(folder).config()
    write_json(folder / "results.json", json.loads((folder / "results.json").read_text()) | {"hash": run_hash(cfg)})
    option = refused(folder).rpartition("add ")[2]
    assert option == "allow=sets_of_mine.build" and evaluate(f"run={folder}", option)["scores"]["sketch"]["n"] == 45
    export(folder, f"out={tmp_path / 'out'}", option)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "evaluate.py run=<this folder> allow=[sets_of_mine.build]`" in card
    monkeypatch.chdir(tmp_path / "out")
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    exec(code, {})
    change(tmp_path / "out", "backbone._target_", "os.system")
    with pytest.raises(DigrapError, match="config.yaml: backbone._target_=os.system is not"):
        exec(code, {})


@pytest.mark.parametrize(
    ("key", "value"), [("dataset.splits.sketch.size", 44), ("seed", 1), ("backbone.pretrained", False)]
)
def test_another_config_is_not_scored_as_the_runs(folder, key, value):
    change(folder, key, value)
    assert re.search(r"config.yaml is not the config that the run was made with .*add edited=true$", refused(folder))


@pytest.mark.parametrize("text", ["", "dataset: {name: x}", "\0", "[1]", "optim: 3"])
def test_the_same_command_writes_a_damaged_config_again(finished, folder, text):
    before = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text)
    remedy = "config.yaml is damaged .*; delete it and run the same train.py command again, which writes it$"
    assert re.search(remedy, refused(folder))
    (folder / "config.yaml").unlink()
    assert refused(folder).endswith("config.yaml is missing; run the same train.py command again, which writes it")
    engine.run(OmegaConf.load(finished / "config.yaml"), folder)
    assert (folder / "config.yaml").read_text() == before and evaluate(f"run={folder}")["scores"]


def test_an_edited_config_is_scored_where_that_is_said(folder, tmp_path, small_data):
    shutil.copytree(small_data / "minidomainnet", tmp_path / "elsewhere")
    change(folder, "dataset.root", str(tmp_path / "elsewhere"))
    assert "add edited=true" in refused(folder)
    scores = json.loads((folder / "results.json").read_text())["scores"]
    found = evaluate(f"run={folder}", "edited=true")["scores"]
    assert found["sketch"]["accuracy"] == scores["sketch"]["accuracy"]
    export(folder, f"out={tmp_path / 'out'}", "edited=true")
    assert "edited=True)" in (tmp_path / "out" / "README.md").read_text()
    assert evaluate(f"run={tmp_path / 'out'}", "edited=true")["scores"] == found


@pytest.mark.parametrize("name", ["/etc/passwd", "../../minidomainnet/labels/x", "checkpoints/link", "", "."])
def test_weights_outside_of_the_folder_are_not_read(folder, name):
    (folder / "checkpoints" / "link").symlink_to("/etc/passwd")
    write_json(folder / "results.json", json.loads((folder / "results.json").read_text()) | {"weights": name})
    assert f"{folder / 'results.json'}: weights: {name!r} is not the path of a file in {folder}" in refused(folder)


def test_the_default_place_of_an_export_is_under_exports(folder, monkeypatch, tmp_path):
    change(folder, "dataset.name", "../../../../victim")
    cfg = RunFolder(folder).config()
    write_json(folder / "results.json", json.loads((folder / "results.json").read_text()) | {"hash": run_hash(cfg)})
    monkeypatch.setattr(script("export"), "OUTPUTS", tmp_path / "a" / "b")
    with pytest.raises(DigrapError, match=r"config.yaml: '../../../../victim-.* is not the path of a file in"):
        export(folder)
    assert not list(tmp_path.glob("victim*"))


def test_an_empty_path_is_no_bare_backbone():
    for key, without in (("run", "a bare backbone is scored"), ("out", "nothing is written"), ("bundle", "nothing")):
        with pytest.raises(DigrapError, match=f"{key}= is empty; give a path, or leave {key} out: then {without}"):
            evaluate(f"{key}=")
    assert evaluate("run=null", *(name for name in SMALL[:9] if name.startswith("dataset")))["run"] is None


def test_what_is_no_run_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    for path, message in [
        (folder / "results.json", f"is a file; give the folder of a run, {folder}"),
        (folder.parent, f"has runs in it but is not a run itself; give one of them, {folder}"),
        (tmp_path / "some", "is not a run folder: it has no results.json and no config.yaml; give outputs/<dataset>"),
        (tmp_path / "none", "does not exist; give a run folder"),
    ]:
        assert refused(path).startswith(f"{path} {message}")
    folder.rename(tmp_path / "1234567890")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DigrapError, match="run=1234567890: give one path as text, as in run=./<name>"):
        evaluate("run=1234567890")
    assert evaluate("run=./1234567890")["scores"]["sketch"]["n"] == 45


@pytest.mark.parametrize("name", [PREDICTIONS, "../labels/*.npz"])
def test_a_damaged_bundle_is_made_again_from_the_weights(folder, name):
    (file,) = folder.glob(name)
    before = file.read_bytes()
    file.write_bytes(before[:-40])
    with pytest.raises(DigrapError) as error:
        read_bundle(folder / PREDICTIONS, folder.parent)
    command = re.search(r"`python evaluate.py (run=\S+ bundle=\S+)`", str(error.value))[1]
    evaluate("split=null", *command.split())
    assert file.read_bytes() == before and not (folder / "labels").exists()


def test_scores_that_the_predictions_do_not_give_are_not_exported(folder):
    plain = json.loads((folder / "results.json").read_text())
    plain["scores"]["sketch"]["accuracy"] += 1
    write_json(folder / "results.json", plain)
    with pytest.raises(DigrapError, match="split sketch: the predictions in .* give"):
        export(folder, "out=/never")


def test_the_doors_message_is_one_line(folder, capsys):
    change(folder, "backbone._target_", "os.system")
    assert door(lambda: evaluate(f"run={folder}")) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("word", ["ja", "no", "1"])
def test_edited_is_true_or_false(folder, word):
    with pytest.raises(DigrapError, match=f"edited={word}: give true or false"):
        evaluate(f"run={folder}", f"edited={word}")
