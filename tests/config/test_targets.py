"""What a config from a file may call: what configs/ names at the same key, and what the user allows."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from digrap.config.choices import choices
from digrap.config.compose import compose
from digrap.config.targets import allowed, check_targets
from digrap.core.errors import DigrapError

FILE = Path("outputs/mini/0123456789/config.yaml")


def check(key, value, *allow):
    """Check today's config with one value changed or added."""
    cfg = OmegaConf.create(OmegaConf.to_container(compose(["optim=tpgm"])))
    OmegaConf.update(cfg, key, value, force_add=True)
    check_targets(OmegaConf.to_container(cfg, resolve=False), FILE, allow)


@pytest.mark.parametrize("optim", choices("methods"))
def test_every_config_of_the_repository_is_taken(optim):
    check_targets(OmegaConf.to_container(compose([f"optim={optim}"])), FILE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset._target_", "subprocess.check_output"),
        ("backbone._target_", "digrap.engine.provenance.subprocess.run"),
        ("dataset._target_", "digrap.core.files.write_text"),
        ("dataset._target_", "digrap.methods.from_file.from_file"),  # known elsewhere: it executes a file
        ("schedule._target_", "builtins.eval"),
        ("schedule._target_", ["os.system"]),
        ("optim.optimizer._target_", "os.system"),
        ("optim.optimizer.base", {"_target_": "os.system"}),
        ("optim.after_fit", {"_target_": "os.system", "command": "ls"}),
        ("dataset.splits.real._target_", "os.system"),
        ("dataset.more", [{"a": [{"_target_": "os.system"}]}]),
        ("trainer._target_", "digrap.optim.DiGraP"),
        ("peft._target_", {"a": 1}),
        ("peft._target_", ["os.system"]),
        ("peft._target_", None),
    ],
)
def test_nothing_else_is_called(key, value):
    with pytest.raises(DigrapError) as error:
        check(key, value)
    assert str(error.value).startswith(f"{FILE}: ") and "_target_=" in str(error.value)
    if "os.system" in str(value) and not isinstance(value, list):
        assert str(error.value).endswith("if you trust that code, add allow=os.system")
        check(key, value, "os.system")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.root", "${oc.env:HOME}"),
        ("dataset.root", "${data_root}${oc.env:HOME}"),
        ("optim.sha256", "${digrap.sha256:/etc/passwd}"),
        ("data_root", "${data_root}"),
        ("dataset.list", ["${seed}"]),
    ],
)
def test_references_are_refused(key, value):
    with pytest.raises(DigrapError, match=r"is a reference.*write the value there"):
        check(key, value)


def test_references_of_exported_configs_are_taken():
    check("dataset.root", "${data_root}/mini")
    check("backbone.weights", "${digrap.repo:}/data/mini/mini_resnet.safetensors")


def test_an_allowed_package_is_what_it_defines(tmp_path, monkeypatch):
    package = tmp_path / "package_of_my_own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.py").write_text("import subprocess\ndef build(): ...\nclass Set:\n    def make(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("package_of_my_own.data.build", "package_of_my_own.data", "package_of_my_own"):
        check("dataset._target_", "package_of_my_own.data.build", name)
    check("dataset._target_", "package_of_my_own.data.Set.make", "package_of_my_own.data.Set")
    for name in ("package_of_my", "package_of_my_own.data.buil", "other"):
        with pytest.raises(DigrapError, match="add allow=package_of_my_own.data.build"):
            check("dataset._target_", "package_of_my_own.data.build", name)
    with pytest.raises(DigrapError, match="not among what this repository calls there"):
        check("dataset._target_", "package_of_my_own.data.subprocess.run", "package_of_my_own")
    check("dataset._target_", "package_of_my_own.missing.build", "package_of_my_own")  # who calls it says so


def test_the_option():
    assert allowed(None) == () and allowed("a.b") == ("a.b",) and allowed(OmegaConf.create(["a", "b"])) == ("a", "b")
    for value in ("", "a b", "a.", 3, True, ["a", None]):
        with pytest.raises(DigrapError, match="give the name of a package or function, as in allow=my_package"):
            allowed(value)
