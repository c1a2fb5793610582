"""Words for classes whose folders are named otherwise, from a file of the user's; WordNet ids as class names."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from digrap.core.errors import DigrapError, first_line
from digrap.data.domainnet.lists import spoken

log = logging.getLogger(__name__)
WORDNET = re.compile(r"(n\d{8})(?: (.+))?")
SHOWN = 3
FORMS = (
    "give yaml or json, {folder: words}, or lines `folder words, further words` as in ImageNet's LOC_synset_mapping.txt"
)


def read_names(file: str | Path) -> dict[str, str]:
    """Read {class folder: words} from a yaml or json mapping, or from lines in the form of LOC_synset_mapping.txt.

    Of several words for a class, separated by commas, the first is taken, or all of them where two classes share it.
    Raises DigrapError for a file that is missing or has another form.
    """
    file = Path(file).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix in (".yaml", ".yml", ".json"):
            found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        else:
            found = dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DigrapError(f"dataset.names={file}: cannot be read ({first_line(error)}); {FORMS}") from error
    if not isinstance(found, dict) or not found or not all(isinstance(words, str) for words in found.values()):
        raise DigrapError(f"dataset.names={file}: not a mapping from folders to words; {FORMS}")
    found = {str(folder): words.strip() for folder, words in found.items()}
    first = {folder: words.split(",")[0].strip() for folder, words in found.items()}
    shared = Counter(map(str.casefold, first.values()))
    return {folder: found[folder] if shared[words.casefold()] > 1 else words for folder, words in first.items()}


def named(folders: Iterable[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Return the classes' names: a folder's words, behind its WordNet id where that is its name; folders as they are
    where `words` is empty. Raises DigrapError for a folder without words, and for two of the same."""
    folders = tuple(folders)
    if not words:
        return folders
    if absent := [folder for folder in folders if folder not in words]:
        listed = ", ".join(absent[:SHOWN]) + (", …" if len(absent) > SHOWN else "")
        raise DigrapError(
            f"dataset.names: no words for {len(absent)} of {len(folders)} class folders: {listed}; add them"
        )
    names = tuple(f"{folder} {words[folder]}" if WORDNET.fullmatch(folder) else words[folder] for folder in folders)
    if twice := [name for name, count in Counter(map(str.casefold, names)).items() if count > 1]:
        raise DigrapError(f"dataset.names: two classes are called {twice[0]!r}; give each a name of its own")
    if twice := [text for text, count in Counter(words[folder] for folder in folders).items() if count > 1]:
        log.warning("dataset.names: prompts cannot distinguish classes with the same words: %s", ", ".join(twice))
    return names


def in_words(name: str) -> str:
    """Return a class's name for a prompt: aircraft_carrier → aircraft carrier, n01440764 tench → tench.

    Raises DigrapError for a WordNet id alone.
    """
    if not (found := WORDNET.fullmatch(name)):
        return spoken(name)
    if found[2] is None:
        raise DigrapError(
            f"class {name}: a zero-shot prompt needs words instead of a WordNet id; give dataset.names=FILE "
            "(ImageNet's LOC_synset_mapping.txt, or yaml with lines `n01440764: tench`)"
        )
    return found[2]


def identity(name: str) -> str:
    """Return what classes agree by: the WordNet id, or the name but for case, spaces, hyphens and underscores."""
    if found := WORDNET.fullmatch(name):
        return found[1]
    return name.casefold().replace("_", " ").replace("-", " ").strip()
