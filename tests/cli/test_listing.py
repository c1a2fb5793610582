"""`python train.py --list`: every choice with its description, at once, and where messages point to it."""

import subprocess
import sys
import time

import pytest

from digrap.cli.door import door
from digrap.cli.listing import print_lists
from digrap.config import choices
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import CONFIGS, REPO


def train(*arguments):
    return subprocess.run([sys.executable, "train.py", *arguments], cwd=REPO, capture_output=True, text=True)


def test_it_answers_at_once_and_without_libraries():
    start = time.monotonic()
    done = train("--list", "methods")
    assert done.returncode == 0 and time.monotonic() - start < 2  # 0.1 s on an idle machine
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert lines["digrap"].startswith("DiGraP: ") and "wise_ft" in lines and "_base" not in lines
    code = "import sys, digrap.cli.listing; sys.exit(bool({'torch', 'hydra', 'omegaconf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


def test_alone_it_names_all(capsys):
    assert print_lists(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(choices.GROUPS)]] == list(choices.GROUPS)
    assert "clip_vit_b16, hf_vlm" in lines[2]


def test_it_takes_several_lists(capsys):
    assert print_lists(["--list", "tables", "peft"]) == 0
    printed = capsys.readouterr().out
    assert "python train.py -m table=…\n  1 " in printed and "python train.py peft=…\n  lora" in printed


def test_an_unknown_list_is_one_message(capsys):
    assert print_lists(["--list", "method"]) == 2
    assert capsys.readouterr().err == "error: --list method: there is no such list; nearest: methods\n"


@pytest.mark.parametrize("name", choices.GROUPS)
def test_every_choice_is_described_in_one_line(name):
    found = choices.choices(name)
    assert found
    for choice, text in found.items():
        assert 0 < len(text) <= 100, f"{name} {choice}: {text!r}"
        # The published tables quote configs/tables/mini.yaml byte for byte.
        assert "python " not in text or (name, choice) == ("tables", "mini")


def test_every_group_of_the_primary_config_has_a_list():
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert groups - {"best", "hydra"} == set(choices.GROUPS.values())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim=digrop", "optim=digrop: there is no such optim; nearest: digrap; `python train.py --list methods`"),
        ("dataset=vqa", "`python train.py --list datasets` describes them all"),
        (
            "trainer=x",
            "valid: domainnet, folder, mini, minivqa, vqa; `python train.py --list trainers` describes them all",
        ),
    ],
)
def test_an_unknown_choice_points_to_the_list(override, message, capsys):
    assert door(lambda: compose([override])) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_table_points_to_the_list():
    from digrap.tables.spec import load_table

    with pytest.raises(DigrapError, match="nearest: demo; `python train.py --list tables`"):
        load_table("dmo")


def test_help_mentions_it():
    assert "python train.py --list" in train("--help").stdout
