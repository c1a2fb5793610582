"""Stand-ins for Slurm's commands on PATH: what squeue and sacct say is a text, what sbatch was given is kept."""

import os
import sys
from pathlib import Path

import pytest

SBATCH = """#!/bin/sh
[ -f {folder}/refused ] && {{ cat {folder}/refused >&2; exit 1; }}
echo "$@" >> {folder}/sbatch.txt
wc -l < {folder}/sbatch.txt | sed 's/^ */10/;s/$/;lab/'
"""
SAYS = """#!/bin/sh
echo "$@" >> {folder}/{name}.asked
[ -f {folder}/{name}.txt ] && exec cat {folder}/{name}.txt
exit 1
"""


class FakeSlurm:
    """In `folder`. Jobs that are submitted get the ids 101, 102, …"""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("squeue", "sacct"):
            self._command(name, SAYS)
        self._command("sbatch", SBATCH)
        self._command("srun", "#!/bin/sh\n")
        self.says({})

    def _command(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(text.format(folder=self.folder, name=name))
        file.chmod(0o755)

    def says(self, states: dict[str, str] | None, command: str = "squeue") -> None:
        """Let squeue list these jobs: `STATE`, or `STATE|own id`; None: it does not answer."""
        file = self.folder / f"{command}.txt"
        if states is None:
            file.unlink(missing_ok=True)
        else:
            rows = [f"{job}|{state}" if "|" in state else f"{job}|{state}|{job}" for job, state in states.items()]
            file.write_text("".join(f"{row}\n" for row in rows))

    def asked(self, command: str) -> list[str]:
        """What a command that says something was given, a line a call."""
        file = self.folder / f"{command}.asked"
        return file.read_text().splitlines() if file.exists() else []

    def refuse(self, text: str) -> None:
        """Let sbatch fail with this text."""
        (self.folder / "refused").write_text(text)

    def submitted(self) -> list[str]:
        """What sbatch was given, a line a call."""
        file = self.folder / "sbatch.txt"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A FakeSlurm that this process finds before any other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    for key in [key for key in os.environ if key.startswith("SLURM_")]:
        monkeypatch.delenv(key)
    return FakeSlurm(folder)
