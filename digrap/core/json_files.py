"""Reading of JSON files from other sources, with one clear error for each way in which they can be bad."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from digrap.core.compressed import unpacked
from digrap.core.errors import DigrapError, Unreadable
from digrap.core.files import sha256
from digrap.core.problems import Problems

EXACT = 2**53  # from here on two whole numbers may be one float


def read_json(path: Path | str, what: str, hook: Callable[[list], Any] | None = None) -> Any:
    """The file's value. `what` names the expected content in errors ("predictions", for example); `hook` makes each
    object from its (key, value) pairs, by default a dict.

    Raises DigrapError for a file that is missing, empty, not UTF-8 or not (whole) JSON.
    """
    text = read_text(path, what)
    if not text.strip():
        raise Unreadable(f"{path} is empty", f"give a file with {what}")
    try:
        return json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        cut = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        fault = f"{path} is not JSON ({error.msg}, {place})"
        if cut:
            raise Unreadable(f"{fault}: it is cut off", "write or download it again") from error
        raise Unreadable(fault, "fix it there") from error
    except RecursionError as error:
        raise Unreadable(f"{path} is nested too deeply to be {what}") from error
    except ValueError as error:  # a number of thousands of digits
        raise Unreadable(f"{path} cannot be read as JSON ({error})", f"give a file with {what}") from error


def read_text(path: Path | str, what: str) -> str:
    """The file's text without a byte order mark. Raises DigrapError if it is missing or not UTF-8."""
    try:
        return read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not UTF-8 (byte {error.start})", f"save {what} as UTF-8") from error


def read_bytes(path: Path | str, what: str) -> bytes:
    """The file's bytes, unpacked if it is compressed. Raises DigrapError if it cannot be read."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise Unreadable(f"{path} does not exist", f"give a file with {what}") from error
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror})", f"give a file with {what}") from error
    return unpacked(data, path)


def entries(value: Any, key: str, path: Path | str, problems: Problems, needed: Sequence[str] = ()) -> list[dict]:
    """The JSON objects of a list: `value` itself, or its entry `key`, as in official files.

    An entry that is not an object, lacks one of the `needed` keys, or has a question_id that is none (`as_id`) is left
    out and counted in `problems`. Raises DigrapError if there is no such list, or an empty one.
    """
    if isinstance(value, dict):
        if key not in value:
            raise DigrapError(f"{path} has no {key!r} but {', '.join(map(repr, list(value)[:6])) or 'nothing'}")
        value = value[key]
    if not isinstance(value, list):
        raise DigrapError(f'{path} has no list of {key}: give [...] or {{"{key}": [...]}}')
    if not value:
        raise DigrapError(f"{path} has no {key}: its list is empty")
    whole = []
    for place, entry in enumerate(value):
        if not isinstance(entry, dict):
            problems.add("entry that is no object (left out)", f"{path}: {key} number {place} (from 0): {entry!r:.80}")
        elif lacks := [name for name in needed if name not in entry]:
            problems.add("entry that lacks a key (left out)", f"{path}: {key} number {place}: no {', '.join(lacks)}")
        elif "question_id" in entry and (number := as_id(entry["question_id"])) is None:
            shown = f"{path}: {key} number {place}: {entry['question_id']!r:.80}"
            problems.add("question_id that is neither a whole number nor text (left out)", shown)
        else:
            whole.append(entry)
            if "question_id" in entry:
                entry["question_id"] = number
    return whole


class Place(int):
    """A question's position in a file without ids, from 0, which is its id."""


def by_place(value: Any) -> Any:
    """`value`, changed in place: in a list, objects without question_id get their `Place` as one."""
    for place, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, dict):
            entry.setdefault("question_id", Place(place))
    return value


def as_id(value: Any) -> int | str | None:
    """The question_id that a value is: a string, or a whole number, which pandas may write as 5.0; else None."""
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def fingerprint(path: Path | str) -> dict[str, str]:
    """{"name", "sha256"} of a file."""
    return {"name": Path(path).name, "sha256": sha256(Path(path))}
