"""metrics.jsonl on resume: what came after the checkpoint is dropped, what was lost before it is said."""

import pytest

from digrap.core.errors import DigrapError
from digrap.runs.metrics_log import MetricsLog

LINES = [b'{"event": "train", "step": 1}\n', b'{"event": "train", "step": 2}\n', b'{"event": "val", "step": 2}\n']
SIZE = len(LINES[0]) + len(LINES[1])


@pytest.mark.parametrize(
    ("there", "left", "lost"),
    [
        (LINES, LINES[:2], 0),
        (LINES[:2], LINES[:2], 0),
        ([*LINES[:2], b'{"event": "tr'], LINES[:2], 0),
        (LINES[:1], LINES[:1], len(LINES[1])),
        ([LINES[0], LINES[1][:-9]], LINES[:1], len(LINES[1])),  # a crash while the line was written
        ([], [], SIZE),
        ([LINES[0], b"\0" * 100], LINES[:1], len(LINES[1])),  # what a power cut may leave
    ],
)
def test_rewind(tmp_path, caplog, there, left, lost):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b"".join(there))
    MetricsLog(file).rewind(SIZE)
    assert file.read_bytes() == b"".join(left)
    said = f"{file} lacks {lost} of the {SIZE} bytes that it had at the checkpoint"
    assert (said in caplog.text) if lost else not caplog.text
    MetricsLog(file).write("val", step=3)
    assert file.read_bytes().splitlines()[-1] == b'{"event": "val", "step": 3}'


def test_a_missing_file_stays_missing(tmp_path, caplog):
    MetricsLog(tmp_path / "metrics.jsonl").rewind(0)
    assert not caplog.text
    MetricsLog(tmp_path / "metrics.jsonl").rewind(7)
    assert "lacks 7 of the 7 bytes" in caplog.text and not list(tmp_path.iterdir())


def test_a_folder_in_its_place_is_one_message(tmp_path):
    with pytest.raises(DigrapError, match="could not be written .*move it away, and start again"):
        MetricsLog(tmp_path).rewind(3)
