"""A Slurm cluster for the tests of this folder, and their summary; skipped where Slurm is not installed."""

import os

import pytest

from tests.slurm.cluster import SUMMARY, Cluster, missing


def pytest_collection_modifyitems(items):
    absent = missing()
    for item in items:
        if item.path.parent.name == "slurm":
            item.add_marker(pytest.mark.slurm)
            if absent:
                why = f"no {', '.join(absent)} here: apt-get install slurm-wlm munge"
                item.add_marker(pytest.mark.skip(reason=why))


def started(folder, **options):
    """A running cluster, stopped at the end, also of a failed test."""
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        SUMMARY.append(f"started {cluster.nodes} node(s): {cluster.run('slurmctld', '-V').strip()}")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def one_node(tmp_path_factory):
    yield from started(tmp_path_factory.mktemp("one-node"))


@pytest.fixture
def cluster(one_node, monkeypatch):
    """The one-node cluster; commands of this process reach it."""
    return reaching(one_node, monkeypatch)


def reaching(cluster, monkeypatch):
    for key in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(key, cluster.environment[key])
    for key in [key for key in os.environ if key.startswith("SLURM_") and key != "SLURM_CONF"]:
        monkeypatch.delenv(key)
    return cluster


@pytest.fixture
def summary():
    """Add a line to what is printed at the end."""
    return SUMMARY.append
