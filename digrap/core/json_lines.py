"""Files with one JSON value a line (JSON lines), whatever their name says."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError, Unreadable
from digrap.core.json_files import read_bytes, read_json

NOT_UTF8 = "line that is not UTF-8 (left out)"
NOT_JSON = "line that is not JSON, or cut off (left out)"


def check_json(path: Path | str, what: str) -> None:
    """Read a file of JSON or of lines of it to its end without keeping its objects, which take several times its size.

    Raises DigrapError where `read_json_or_lines` does, and for anything but a list, or an object with one, that has
    something in it: a server's {"error": …}, for example.
    """
    last: deque[list] = deque(maxlen=1)  # keys and values of the object that ends last: the file's own, if it is one
    found = read_json_or_lines(path, what, last.append)  # makes each object None
    values = [value for _, value in last[0]] if found is None and last else [found]
    if not any(isinstance(value, list) and value for value in values):
        raise DigrapError(f"{path} has no list, or an empty one: give a file with {what}")


def read_json_or_lines(path: Path | str, what: str, hook: Callable[[list], Any] | None = None) -> Any:
    """Return a JSON file's value, or the list of the values of a file with one per line; `hook` as of `read_json`.

    Raises DigrapError where `read_json` does, and for a line that is not JSON.
    """
    try:
        value = read_json(path, what, hook)
    except DigrapError as error:
        if getattr(error.__cause__, "msg", None) != "Extra data":  # the first value is whole, and another follows
            raise
        read = list(read_lines(path, what, hook))
        if isinstance(read[0][1], BadLine):
            raise
        for where, line in read:
            if isinstance(line, BadLine):
                raise Unreadable(f"{where} is not JSON in UTF-8, or cut off", "fix it or write it again") from error
        return [line for _, line in read]
    return [value] if isinstance(value, dict) and named_lines(path) else value


def read_lines(path: Path | str, what: str, hook: Callable[[list], Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield ("<path>: line <number>", value) of each line that is not blank; for a damaged line a `BadLine`.

    Raises DigrapError for a file that cannot be read.
    """
    for number, line in enumerate(read_bytes(path, what).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            yield where, json.loads(line.decode("utf-8-sig"), object_pairs_hook=hook)
        except UnicodeDecodeError:
            yield where, BadLine(NOT_UTF8)
        except (ValueError, RecursionError):
            yield where, BadLine(NOT_JSON)


class BadLine(str):
    """Why a line is not JSON, in the words in which such lines are counted."""


def named_lines(path: Path | str) -> bool:
    """Whether a file's name says that it holds one value a line: .jsonl, also compressed."""
    return str(path).removesuffix(".gz").endswith(".jsonl")
