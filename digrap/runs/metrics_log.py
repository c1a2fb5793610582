"""metrics.jsonl while a run is training: records are appended, and rewound to a checkpoint's place on resume."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError

log = logging.getLogger(__name__)


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
        """Drop what was written after a checkpoint, `size` bytes: the resumed run writes it again.

        What is missing of those, after a power cut say, is logged as a warning, and an unfinished last line is dropped:
        training needs none of it.
        """
        whole = 0
        try:
            if self.path.exists():
                with open(self.path, "r+b") as file:
                    whole = file.read(size).rfind(b"\n") + 1
                    file.truncate(whole)
        except OSError as error:
            raise DigrapError(f"{self.path} could not be written ({error}); move it away, and start again") from error
        if whole < size:
            lost = f"{size - whole} of the {size} bytes that it had at the checkpoint"
            log.warning("%s lacks %s: figures of this run will have a gap; training is not affected", self.path, lost)
