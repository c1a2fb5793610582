"""A run on a disk that is full or read-only: one message, and with room again it goes on from its last checkpoint."""

import os
import subprocess

import pytest

from tests.doors import call
from tests.engine.runs import results

STOPPING = """
import os, pathlib, signal, torch

class Rule(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        Rule.steps += 1
        if Rule.steps == 4 and not pathlib.Path(__file__).with_suffix(".signalled").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(closure)
"""


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a small file system at a folder, with options, or mounts it anew with others."""
    place = tmp_path / "a disk"
    place.mkdir()

    def mount(options):
        again = ["-o", f"remount,{options}"] if place.is_mount() else ["-o", options, "-t", "tmpfs", "tmpfs"]
        if subprocess.run(["mount", *again, str(place)], capture_output=True).returncode:
            pytest.skip("this machine mounts no tmpfs")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts a file system")
@pytest.mark.slow
@pytest.mark.parametrize("full", ["size=9m", "ro"])
def test_a_full_or_read_only_disk_ends_in_one_message(small_arguments, tmp_path, small_disk, full):
    """The last good checkpoint is whole: with room again the run goes on from it."""
    place = small_disk("size=9m")
    (tmp_path / "rule.py").write_text(STOPPING)
    words = ["train.py", *small_arguments, "trainer.checkpoint_minutes=0", "optim=file",
             f"optim.file={tmp_path / 'rule.py'}", f"hydra.run.dir={place / 'run'}"]  # fmt: skip
    stopped = call(*words)
    assert stopped.returncode == 143, stopped.stderr
    (tmp_path / "rule.signalled").touch()
    if full == "ro":
        small_disk("ro")
    else:
        _fill(place / "others")
    ended = call(*words)
    errors = [line for line in ended.stderr.splitlines() if "rror" in line]
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert len(errors) == 1 and str(place) in errors[0], ended.stderr
    small_disk("size=64m,rw")
    (place / "others").unlink(missing_ok=True)
    again = call(*words)
    assert again.returncode == 0 and "resumed at step" in again.stdout + again.stderr
    assert results(place / "run")["scores"]


def _fill(file):
    with open(file, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            return
