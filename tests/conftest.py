"""Small configs for tests: the miniature with few images."""

import copy
import os
import signal
from collections import Counter
from functools import cache
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from digrap.config.compose import compose
from tests.fake_slurm import fake_slurm  # noqa: F401  a fixture
from tests.slurm.cluster import SUMMARY, missing
from tests.synthetic_runs import demo, outputs, quick, small_table  # noqa: F401  fixtures

# Autograd decides at its first backward pass whether it keeps threads, after which no forked process may train: here,
# before a test has made fake devices known.
torch.ones(1, requires_grad=True).sum().backward()

# A shell starts what runs in its background deaf to Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SMALL = [
    "dataset.splits.real_train.size=192",
    "dataset.splits.real_val.size=90",
    *(f"dataset.splits.{name}.size=45" for name in ("real", "clipart", "sketch", "painting", "infograph", "quickdraw")),
    "trainer.micro_batch=32",
    "trainer.batch_size=32",
    "trainer.epochs=2",
    "trainer.validate_every=1",
    "log_every=2",
    "device=cpu",
]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """A data root that the tests of one process share."""
    return tmp_path_factory.mktemp("data")


@cache
def composed(*overrides: str):
    return compose(list(overrides))


@pytest.fixture
def small(small_data):
    """Overrides → a config of a run that takes a second."""

    def make(*overrides):
        words = [*SMALL, f"data_root={small_data}", *overrides]
        reads_a_file = any("optim.file=" in word for word in overrides)
        return compose(words) if reads_a_file else copy.deepcopy(composed(*words))

    return make


@pytest.fixture
def small_arguments(small_data) -> list[str]:
    """The same as command-line arguments."""
    return [*SMALL, f"data_root={small_data}"]


def pytest_terminal_summary(terminalreporter):
    """What happened on the Slurm cluster, or that there is none."""
    lines = [f"Slurm is not tested: no {', '.join(absent)} here"] if (absent := missing()) else SUMMARY
    for line in lines:
        terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(items):
    """Of a test with many cases that is marked sampled(n), all but every n-th become slow."""
    seen = Counter()
    for item in items:
        if (marker := item.get_closest_marker("sampled")) is not None:
            name = item.nodeid.partition("[")[0]
            if seen[name] % marker.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[name] += 1
