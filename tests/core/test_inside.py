"""Paths that come from files stay in their folder."""

from pathlib import Path

import pytest

from digrap.core.errors import DigrapError
from digrap.core.files import inside


@pytest.mark.parametrize("name", ["a.npz", "runs/a.npz", "./a.npz", "runs/../a.npz", "..a", "a b/#.npz"])
def test_names_of_the_folder_are_joined_to_it(tmp_path, name):
    assert inside(tmp_path, name, "manifest") == tmp_path / name


OUTSIDE = ["", ".", "..", "../../victim", "/etc/passwd", "runs/../../x", "a\0b", "ring/x", None, 3]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_out_of_the_folder_is_refused_with_its_place(tmp_path, name):
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(DigrapError) as error:
        inside(tmp_path, name, "manifest.json, entry files")
    assert "manifest.json, entry files" in str(error.value)
    assert repr(name) in str(error.value) and str(tmp_path) in str(error.value)


def test_a_link_out_of_the_folder_is_refused_and_a_linked_folder_is_one(tmp_path):
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (folder / "out").symlink_to(other)
    with pytest.raises(DigrapError, match="out/file"):
        inside(folder, "out/file", "manifest")
    (tmp_path / "link").symlink_to(folder)
    assert inside(tmp_path / "link", "file", "manifest") == Path(tmp_path / "link" / "file")
