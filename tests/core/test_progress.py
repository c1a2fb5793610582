"""What is said of long steps where stderr is no terminal."""

import logging
import re
import sys

import pytest

from digrap.core import progress
from digrap.core.progress import track


@pytest.fixture
def lines(caplog, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    caplog.set_level(logging.INFO)
    return caplog


def test_batches_count_as_their_examples(lines):
    assert list(track([[1, 2], [3, 4], [5]], "test", total=5, size=len, unit="pictures")) == [[1, 2], [3, 4], [5]]
    said = [message.split(" (")[0] for message in lines.messages]
    assert said[:2] == ["test: 2 of 5 pictures", "test: 4 of 5 pictures"]
    assert re.fullmatch(r"test: 5 pictures in \d\.\d s \(\d+/s\)", lines.messages[-1])


def test_items_count_as_one_each(lines):
    assert list(track("ab", "test")) == ["a", "b"]
    assert lines.messages[0].startswith("test: 1 of 2") and lines.messages[-1].startswith("test: 2 in 0.0 s (")


def test_a_bar_counts_likewise(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(track([[1, 2], [3]], "test", total=3, size=len)) == [[1, 2], [3]]
    assert "3/3" in capsys.readouterr().err
