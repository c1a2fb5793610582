"""Words for classes: read from a file, and what a prompt and the agreement of two datasets make of a name."""

import logging

import pytest

from digrap.core.errors import DigrapError
from digrap.data.class_names import identity, in_words, named, read_names

CRANES = """\
n02012849 crane
n03126707 crane
n03710637 maillot
n03710721 maillot, tank suit
n01440764 tench, Tinca tinca
"""


def test_lines_as_in_imagenets_release(tmp_path, caplog):
    """The first word, or all of them where two classes share it; equal ones are told by their ids, and named."""
    (tmp_path / "LOC_synset_mapping.txt").write_text(CRANES)
    words = read_names(tmp_path / "LOC_synset_mapping.txt")
    assert words["n01440764"] == "tench" and words["n03710721"] == "maillot, tank suit"
    with caplog.at_level(logging.WARNING):
        assert named(["n01440764", "n02012849", "n03126707"], words) == (
            "n01440764 tench", "n02012849 crane", "n03126707 crane",
        )  # fmt: skip
    assert "prompts cannot distinguish classes with the same words: crane" in caplog.text


@pytest.mark.parametrize(
    ("name", "words", "same"),
    [
        ("aircraft_carrier", "aircraft carrier", "Aircraft Carrier"),
        ("n01440764 tench", "tench", "n01440764"),
        ("n03710721 maillot, tank suit", "maillot, tank suit", "n03710721 swimsuit"),
        ("t-shirt", "t-shirt", "T shirt"),
    ],
)
def test_a_name_in_a_prompt_and_what_it_agrees_with(name, words, same):
    assert in_words(name) == words and identity(name) == identity(same)


def test_a_wordnet_id_alone_is_no_prompt():
    with pytest.raises(DigrapError, match=r"class n01440764: .*give dataset.names=FILE .ImageNet's LOC_synset"):
        in_words("n01440764")
    assert named(["n01440764", "n02012849"], {}) == ("n01440764", "n02012849")


@pytest.mark.parametrize("content", ["[a, b]", "apple: 3", "a: b: c", "", None])
def test_files_of_another_form_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "names.yaml").write_text(content)
    with pytest.raises(DigrapError, match="dataset.names=.*names.yaml: .*give yaml or json, {folder: words}"):
        read_names(tmp_path / "names.yaml")


def test_words_that_do_not_fit_the_classes_are_named():
    with pytest.raises(DigrapError, match="dataset.names: no words for 1 of 2 class folders: sky; add them"):
        named(["leaf", "sky"], {"leaf": "green leaf"})
    with pytest.raises(DigrapError, match="dataset.names: two classes are called 'thing'"):
        named(["leaf", "sky"], {"leaf": "thing", "sky": "Thing"})
