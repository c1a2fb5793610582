"""Runs named by their folder, the beginning of their hash, or as the latest one."""

import os

import pytest

from digrap.core.errors import DigrapError
from digrap.runs.find import find_run


@pytest.fixture
def outputs(tmp_path):
    for age, place in enumerate(["a/0123456789", "a/0123ffffff", "b/0123456789-fresh1", "b/deadbeef00"]):
        (tmp_path / place).mkdir(parents=True)
        file = tmp_path / place / "results.json"
        file.write_text("{}")
        os.utime(file, (1000 - age, 1000 - age))
    (tmp_path / "b/newer").mkdir()  # not finished
    return tmp_path


@pytest.mark.parametrize(
    ("name", "place"),
    [("latest", "a/0123456789"), ("dead", "b/deadbeef00"), ("0123456789", "a/0123456789"), ("0123f", "a/0123ffffff"),
     ("0123456789-fresh1", "b/0123456789-fresh1")],
)  # fmt: skip
def test_names(outputs, name, place):
    assert find_run(name, outputs) == outputs / place


def test_a_path_is_itself(outputs, monkeypatch):
    monkeypatch.chdir(outputs / "a")
    assert str(find_run("0123456789", outputs)) == "0123456789"
    assert str(find_run("no/such", outputs)) == "no/such"
    assert str(find_run("x", outputs)) == "x"  # too short for a hash: whoever reads the folder says what is wrong


@pytest.mark.parametrize(
    ("name", "words"),
    [("0123", "3 hashes begin with this: "), ("ffff", "no run .* begins with this; .*runs.py lists"),
     ("latest", "no finished run")],
)  # fmt: skip
def test_none_or_several(outputs, tmp_path, name, words):
    with pytest.raises(DigrapError, match=words):
        find_run(name, tmp_path / "empty" if name == "latest" else outputs)
