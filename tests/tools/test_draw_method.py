"""The picture of the method shows what the optimizer does."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from digrap.core.paths import REPO
from tools import draw_method
from tools.draw_method import AWAY, BACK, WEIGHTS, move


def test_the_arrows_are_the_methods():
    delta, gradient = np.array(WEIGHTS), np.array(AWAY)
    push = gradient @ delta / (delta @ delta) * delta
    assert gradient @ delta < 0 < np.array(BACK) @ delta
    for omega in (0.0, 0.5, 1.0):
        assert move(AWAY, omega) == pytest.approx(-(gradient - omega * push))
    assert move(AWAY, 1.0) @ delta == pytest.approx(0)
    assert move(BACK, 1.0) == pytest.approx(-np.array(BACK))


def test_it_is_written_whole_and_the_readme_shows_it(tmp_path, monkeypatch, capsys):
    out = tmp_path / "method.svg"
    monkeypatch.setattr(sys, "argv", ["draw_method", f"out={out}"])
    draw_method.main()
    assert str(out) in capsys.readouterr().out
    root = ElementTree.fromstring(out.read_text())
    assert root.tag.endswith("svg") and "<text" not in out.read_text()
    shown = "docs/pictures/method.svg"
    assert shown in (REPO / "README.md").read_text().split("## ")[0] and (REPO / shown).is_file()
