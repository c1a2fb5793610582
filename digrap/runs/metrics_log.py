"""metrics.jsonl while a run is training: records are appended, and rewound to a checkpoint's place on resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError


class MetricsLog:
    """One JSON object a line, and further sinks: callables that take such an object."""

    def __init__(self, path: Path, sinks: tuple = ()):
        self.path, self.sinks = Path(path), sinks

    def write(self, event: str, **values: Any) -> None:
        """Append one record."""
        record = {"event": event, **values}
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise DigrapError(f"{self.path} could not be written ({error})") from error
        for sink in self.sinks:
            sink(record)

    def size(self) -> int:
        """Bytes written so far: a checkpoint's position in the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, size: int) -> None:
        """Drop what was written after a checkpoint: the resumed run writes it again."""
        if self.size() > size:
            with open(self.path, "r+b") as file:
                file.truncate(size)
