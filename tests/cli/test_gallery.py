"""The contact sheets of the miniatures."""

import sys

import pytest
from PIL import Image

from digrap.cli import door, gallery
from digrap.data.vqa.sets import SETS


def test_the_sheet_of_questions_has_every_set_with_its_question():
    figure = gallery.sheet_of_questions(seed=3, columns=1)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title.split()[0] for title in titles] == list(SETS)
    for axes in figure.axes[1:3]:  # the original and, without one of its objects, the edited picture
        pixels = axes.images[0].get_array()
        left, right = pixels[:, :48].astype(int), pixels[:, -48:].astype(int)
        changed = abs(left - right).max(axis=2) > 60
        assert "original, edited" in axes.get_title() and pixels.shape == (48, 98, 3)
        assert 0.01 < changed.mean() < 0.4
    assert all(len(title.splitlines()) >= 3 for title in titles)  # part, question, answers
    assert all(len(axes.images) == 1 for axes in figure.axes)


def test_a_sheet_is_written_and_an_unknown_one_refused(tmp_path, monkeypatch, capsys):
    out = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["gallery.py", "columns=2", f"out={out}"])
    gallery.main()
    assert Image.open(out).size[0] > 100 and capsys.readouterr().out.strip() == str(out)
    monkeypatch.setattr(sys, "argv", ["gallery.py", "of=minivqua"])
    assert door.door(gallery.main) == 2
    assert "of=minivqua: choose one of minidomainnet, minivqa" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["columns=46", "seed=-1", "image_size=31"])
def test_numbers_out_of_range_are_refused(argument, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gallery.py", argument])
    assert door.door(gallery.main) == 2
    assert argument in capsys.readouterr().err
