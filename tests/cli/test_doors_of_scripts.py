"""Doors of scripts: help, errors as one message, and overrides that mean what was given."""

import os
import runpy
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from digrap.cli.arguments import override
from digrap.cli.door import door
from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.core.paths import REPO

SCRIPTS = sorted(path.name for path in (REPO / "scripts").glob("[!_]*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_answers_help_and_does_nothing_else(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(REPO / "scripts")  # as where python runs it
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / "scripts" / name), run_name="__main__")
    printed = capsys.readouterr()
    assert ended.value.code == 0 and name in printed.out and not printed.err


def test_a_script_without_the_package_says_how_to_install_it():
    command = [sys.executable, "-S", "-E", "scripts/download.py", "dataset=domainnet"]  # -S: no installed packages
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout and len(done.stderr.splitlines()) == 1
    assert "digrap is not installed: run `python -m pip install -e '.[all]'` or `make setup`" in done.stderr


def test_help_is_the_docstring(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["a.py", "key=1", "-h"])
    assert door(lambda: 1 / 0, "what it does\n") == 0
    assert capsys.readouterr().out == "what it does\n"


def test_files_that_cannot_be_written_are_one_message(tmp_path, capsys):
    def write():
        os.replace(tmp_path / "a", tmp_path / "folder")

    (tmp_path / "a").write_text("")
    (tmp_path / "folder").mkdir()
    assert door(write) == 2
    expected = f"error: {tmp_path / 'folder'}: cannot be read or written (Is a directory); move that folder away"
    assert expected in capsys.readouterr().err


def test_a_closed_pipe_ends_it_quietly():
    code = "from digrap.cli.door import door; import sys; sys.exit(door(lambda: print('x' * 10**6)))"
    command = f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}'
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True, env=environment)
    assert done.returncode == 141 and not done.stderr


@pytest.mark.parametrize("words", ["train.py --help", "evaluate.py --help", "train.py --list methods"])
def test_a_closed_pipe_ends_help_quietly(words):
    command = f"(sleep 0.3; {sys.executable} {words}) | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 141 and not done.stderr


@pytest.mark.parametrize("error", [OSError("odd"), ValueError("odd")])
def test_other_errors_stay_a_traceback(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        door(fail)


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("ab/ '\"\\${}()[],:=ä"), min_size=1, max_size=8))
def test_an_override_means_the_given_value(text):
    if "${" in text:
        with pytest.raises(DigrapError, match="reference to another key"):
            override("data_root", text)
    else:
        assert OverridesParser.create().parse_override(override("data_root", text)).value() == text


@pytest.mark.parametrize("text", ["\\", "a\\'b", "$(x) {a: [b]}", "{}", " = ä, ", "'\""])
def test_what_is_composed_has_the_given_value(text):
    assert compose(["dataset=vqav2", override("data_root", text)]).data_root == text
