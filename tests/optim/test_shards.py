"""Parameters in shards: two ranks equal one process, or refuse in one sentence. The checks are in ranks.py."""

import torch
import torch.multiprocessing

from tests.optim import ranks


def test_two_ranks_equal_one_process(tmp_path):
    """All checks in one pair of processes, whose start takes longer than the checks."""
    torch.multiprocessing.spawn(ranks.work, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        results = torch.load(tmp_path / f"results{rank}.pt")
        assert results.keys() == ranks.checks(tmp_path).keys()
        failed = {name: error for name, error in results.items() if error}
        assert not failed, "\n".join(failed.values())
