"""A start that is killed, or finds the disk full, before a change in the run's folder: the next one ends with the same
bytes. KILLS=all tries every change instead of a sample."""

import errno
import os
import signal
import sys
import traceback
from pathlib import Path

import pytest
import torch

from digrap.config.compose import compose
from digrap.config.identity import run_hash
from digrap.core.errors import DigrapError
from digrap.engine import run as engine
from tests.conftest import SMALL
from tests.engine.runs import repeatable, results

SAMPLES = 3
RESULTS = "results.json"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
ALLOCATING = {"open", "os.mkdir"}  # what a full disk refuses
ENDED_BY_MESSAGE = 3


class Trouble:
    """An audit hook that counts changes under `folder` and does harm before number `at`: it kills the process, or lets
    the disk be full from there on."""

    def __init__(self, folder: Path, at: int | None, kills: bool):
        self.folder, self.at, self.kills, self.count = str(folder), at, kills, 0

    def __call__(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            change = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        else:
            path, change = arguments[0] if arguments else None, event in CHANGES
        if not change or isinstance(path, int) or not os.fsdecode(path).startswith(self.folder):
            return
        self.count += 1
        if self.at and self.kills and self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.at and not self.kills and self.count >= self.at and event in ALLOCATING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def start(cfg, folder, at=None, kills=True):
    """Make the run in a forked process with trouble before change `at`; return (its status, changes counted)."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            trouble = Trouble(folder.parent, at, kills)
            sys.addaudithook(trouble)
            engine.run(cfg, folder)
            os.write(writer, str(trouble.count).encode())
            status = 0
        except (DigrapError, OSError) as error:  # the doors print both as one message where the file is named
            status = ENDED_BY_MESSAGE if isinstance(error, DigrapError) or error.filename else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    os.close(writer)
    with os.fdopen(reader) as counted:
        return status, int(counted.read() or 0)


def content(folder):
    """{name: bytes} of what is the same in every run: all but run.json, the speed and memory in results.json, and the
    lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock")]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    made = {name: repeatable(folder / name.removesuffix(RESULTS)) for name in found if name.endswith(RESULTS)}
    return found | made


@pytest.fixture(scope="module")
def undisturbed(small_data, tmp_path_factory):
    """The config of WiSE-FT, the content of its folder and that of the run that it is initialised from, and how many
    changes made them."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    sizes = [f"dataset.splits.{name}.size=45" for name in ("real_train", "real_val")]
    options = ("trainer.epochs=1", "trainer.checkpoint_minutes=0", "trainer.batch_size=15", "trainer.micro_batch=15")
    cfg = compose([*SMALL, f"data_root={small_data}", "optim=wise_ft", "optim.curve=[0.2]", *sizes, *options])
    root, name = tmp_path_factory.mktemp("undisturbed"), run_hash(cfg)
    engine.run(cfg, root / "here" / name)  # draws the pictures once, for every process that is forked
    status, count = start(cfg, root / "whole" / name)
    assert status == 0 and count > 10
    return cfg, content(root / "whole"), count


@pytest.mark.sampled(2)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
@pytest.mark.parametrize("kills", [True, False], ids=["killed", "full"])
def test_a_start_that_ends_before_any_change_costs_nothing(undisturbed, tmp_path, kills):
    cfg, whole, count = undisturbed
    name = run_hash(cfg)
    places = [1 + k * count // SAMPLES for k in range(SAMPLES)]
    for at in range(1, count + 1) if os.environ.get("KILLS") == "all" else places:
        root = tmp_path / f"cut{at}"
        status, _ = start(cfg, root / name, at, kills)
        if kills:
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, at
        else:  # a full disk no longer matters when only removals are left
            assert os.waitstatus_to_exitcode(status) in (ENDED_BY_MESSAGE, 0), at
        assert start(cfg, root / name)[0] == 0, at
        assert content(root) == whole, at
        assert results(root / name)["weights_sha256"]
