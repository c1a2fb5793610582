"""The packages that the paper's code names, and what else they install."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys

import pytest

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO
from digrap.engine.build import check_packages
from digrap.models import lavis

TABLE = re.findall(r"^\| `([\w-]+)` \|", (REPO / "docs" / "lavis.md").read_text("utf-8"), flags=re.MULTILINE)
MODULES = {"hydra-core": "hydra", "open_clip_torch": "open_clip", "salesforce-lavis": "digrap.models.lavis_compat"}
CARD = {
    "torch",
    "torchvision",
    "open_clip_torch",
    "hydra-core",
    "omegaconf",
    "wandb",
    "timm",
    "salesforce-lavis",
    "peft",
}


def test_the_table_has_the_nine_packages():
    assert set(TABLE) == CARD
    locked = (REPO / "requirements.lock").read_text("utf-8")
    assert all(f"\n{name.replace('_', '-')}==" in locked for name in CARD)


@pytest.mark.parametrize("name", sorted(CARD))
def test_each_is_imported(name):
    if name == "salesforce-lavis" and importlib.util.find_spec("lavis") is None:
        pytest.skip("salesforce-lavis is not installed")
    assert importlib.import_module(MODULES.get(name, name))


@pytest.mark.parametrize("backbone", ["blip_vqa", "albef_vqa", "tiny_blip", "tiny_albef"])
def test_without_it_a_backbone_says_what_to_install(backbone, monkeypatch):
    monkeypatch.setattr(lavis, "PACKAGES", {"no_such_package": "salesforce-lavis==1.0.2"})
    told = rf"backbone={backbone}: salesforce-lavis==1.0.2: not .* -m pip install --no-deps salesforce-lavis==1.0.2` "
    with pytest.raises(DigrapError, match=told):
        check_packages(compose([f"backbone={backbone}"]))


def test_a_package_called_tests_never_shadows_ours(tmp_path):
    """salesforce-lavis installs one."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    code = "import tests, tests.models.tiny_lavis_files as made; print(*tests.__path__, made.__file__)"
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)]))
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert run.stdout.split() == [str(REPO / "tests"), str(REPO / "tests" / "models" / "tiny_lavis_files.py")], run
