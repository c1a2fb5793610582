"""--help of the two doors from the config files' comments, and `python -m digrap`."""

import re
import shlex
import subprocess
import sys

import pytest

from digrap.cli.listing import COMMANDS, help_of
from digrap.config.choices import GROUPS, choices
from digrap.config.compose import compose
from digrap.core.paths import REPO


def python(*words):
    return subprocess.run([sys.executable, *words], cwd=REPO, capture_output=True, text=True)


def test_help_describes_every_choice_and_option():
    text = python("train.py", "--help").stdout
    assert text.rstrip() == help_of("train") and "_base" not in text
    for name in GROUPS:
        for choice, description in choices(name).items():
            assert re.search(rf"^  {re.escape(choice)} +{re.escape(description)}$", text, re.MULTILINE)
    for option in ("seed=0", "fresh=false", "wait=false", "trainer.smoke=false", "trainer.keep_checkpoints=false"):
        assert re.search(rf"^  {re.escape(option)} +\S", text, re.MULTILINE)


def test_help_of_evaluate_is_its_own():
    text = python("evaluate.py", "optim=vanilla", "-h").stdout
    assert text.startswith("python evaluate.py run=RUN") and "  split=null " in text and "trainer." not in text


@pytest.mark.parametrize("door", COMMANDS)
def test_its_commands_compose(door):
    """All but Hydra's own, which need no config of ours."""
    for line in COMMANDS[door].splitlines()[2:]:
        words = shlex.split(re.split(r" {2,}", line.strip())[0])[2:]
        overrides = [word for word in words if "=" in word and "," not in word and not word.startswith("table=")]
        if door == "train":
            assert compose([word for word in overrides if not word.startswith("dry_run")])


def test_the_package_says_what_there_is():
    lines = python("-m", "digrap").stdout.splitlines()
    named = {line.strip().partition("  ")[0] for line in lines}
    scripts = {f"python scripts/{path.name}" for path in (REPO / "scripts").glob("[!_]*.py")}
    assert scripts | {"python train.py", "python evaluate.py", "python -m digrap.optim.check"} <= named
    assert all(len(line) < 120 for line in lines)


def test_download_alone_prints_its_usage():
    done = python("scripts/download.py")
    assert done.returncode == 0 and "python scripts/download.py dataset=domainnet" in done.stdout and not done.stderr
