"""Overrides `key=value` in the grammar of Hydra: quoting, and taking names and paths as they were typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from digrap.core.errors import DigrapError, first_line

# The keys whose values are names or paths, never lists, numbers or booleans: whole keys, and last parts within groups.
TEXTS = {"data_root", "outputs", "run", "out", "bundle", "optim.file"}
GROUPS = {"dataset", "backbone", "peft", "logger", "hydra"}
TEXTS_OF_GROUPS = {
    "root", "lists", "annotations", "questions", "question", "images", "image_name", "file", "folder", "weights",
    "project", "dir", "subdir", "filename", "start", "base", "names",
}  # fmt: skip
KEY_AND_VALUE = re.compile(r"(\+{0,2})([A-Za-z_][\w.@/:-]*)=(.*)", re.DOTALL)
STRUCTURE = re.compile(r"[\[{].*|\w+\(.*\)", re.DOTALL)  # a list, a mapping or a function such as choice(…)


def check_no_reference(key: str, text: str) -> None:
    """Raise DigrapError for a text that Hydra or OmegaConf would take as a reference to another key."""
    if "${" in text:
        raise DigrapError(f"{key}={text}: ${{ starts a reference to another key; give a name without it")


def override(key: str, value: object) -> str:
    """Quote a value as an override for `digrap.config.compose`. Raises DigrapError for a reference to another key."""
    text = str(value)
    check_no_reference(key, text)
    text = re.sub(r"(\\+)('|$)", r"\1\1\2", text)  # before a quote, and only there, Hydra takes two backslashes for one
    quoted = text.replace("'", r"\'")
    return f"{key}='{quoted}'"


def as_typed(argument: str, several: bool = False) -> str:
    """An argument of the command line, quoted where Hydra's grammar would refuse it or read another text from it.

    What Hydra reads stays: its own quotes and escapes, `${…}`, `null`, lists, sweeps. Only keys of names and paths are
    never lists, mappings, numbers or booleans. `several`: a comma separates the values of a sweep, unless the name as
    a whole exists and its parts do not. Raises DigrapError for an empty name, and for what looks like a list, a
    mapping or a function and is none.
    """
    found = KEY_AND_VALUE.fullmatch(argument)
    if not found:
        return argument
    plus, key, text = found.groups()
    parsed, cause = _parsed(argument)
    if is_text(key) or key == "table" and text.endswith(".yaml"):
        if not text:
            raise DigrapError(f"{argument}: the value is empty; give a name or a path, or leave {key} out")
        if _means(parsed, text):
            return argument
        if "," in text and not key.startswith("hydra.") and _several(text, several):
            return argument if parsed else _sweep(plus + key, text)
    elif parsed:
        return argument
    elif STRUCTURE.fullmatch(text):
        raise DigrapError(
            f"{argument} cannot be read ({cause}): put quotes around names with special characters in it, ['a b'] for "
            f"example; {shlex.quote(override(plus + key, text))} if all of it is one name"
        )
    elif several and "," in text:
        return _sweep(plus + key, text)
    return override(plus + key, text)


def is_text(key: str) -> bool:
    """Whether a key's value is a name or a path."""
    parts = key.split(".")
    return key in TEXTS or key.endswith(".optim.file") or parts[0] in GROUPS and parts[-1] in TEXTS_OF_GROUPS


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


@cache
def parsed(argument: str) -> Override:
    """Hydra's reading of an argument, which takes it longer than a value takes to be set. Raises HydraException."""
    return _parser().parse_override(argument)


def _parsed(argument: str) -> tuple[Override | None, str]:
    """The same; None, and why, where there is none."""
    try:
        return parsed(argument), ""
    except HydraException as error:
        return None, first_line(error)


def _means(parsed: Override | None, text: str) -> bool:
    """Whether Hydra reads the text itself, or something that only its own grammar can mean."""
    if parsed is None:
        return False
    if parsed.is_sweep_override():
        return not (isinstance(parsed._value, ChoiceSweep) and parsed._value.simple_form)  # choice(…), glob(…)
    value = parsed.value()
    escaped = isinstance(value, str) and "\\" in text  # Hydra's own escapes
    return value is None or value == text or isinstance(parsed._value, QuotedString) or "${" in text or escaped


def _several(text: str, several: bool) -> bool:
    """Whether a text with commas is several paths."""
    whole, parts = _exists(text), all(map(_exists, _split(text)))
    return (parts or not whole) if several else (parts and not whole)


def _sweep(key: str, text: str) -> str:
    """Several values, each as it was typed."""
    values = [as_typed(f"{key}={part}").partition("=")[2] for part in _split(text)]
    return f"{key}={','.join(values)}"


def _split(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",")]


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).expanduser().exists()
    except (RuntimeError, OSError):  # no such user, a name too long
        return False
