"""Parameters in shards: two ranks equal one process, or refuse in one sentence. The checks are in ranks.py."""

import pytest
import torch
import torch.multiprocessing

from tests.optim import ranks

ALL = pytest.param(tuple(ranks.RULES), id="all", marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("rules", [tuple(ranks.RULES)], ids=["all"])
def test_two_ranks_equal_one_process(rules, tmp_path):
    """All checks in one pair of processes, whose start takes longer than the checks."""
    torch.multiprocessing.spawn(ranks.work, (str(tmp_path), rules), nprocs=2)
    for rank in range(2):
        results = torch.load(tmp_path / f"results{rank}.pt")
        assert results.keys() == ranks.checks(rules, tmp_path).keys()
        failed = {name: error for name, error in results.items() if error}
        assert not failed, "\n".join(failed.values())
