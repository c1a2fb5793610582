"""Ways in which a rank ends. It imports little: each test of them starts two processes."""

import os
import signal

import torch

from digrap.core.errors import DigrapError
from digrap.engine import ranks


def ending(how: str, rank: int = 1) -> str:
    """Work that ends one rank in some way, while the others wait for it in a collective."""
    torch.distributed.init_process_group("gloo")
    if ranks.rank() == rank:
        if how == "error":
            raise DigrapError("the data are not there")
        if how == "crash":
            raise ZeroDivisionError("in a hook")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
    torch.distributed.all_reduce(torch.ones(1))
    return f"{ranks.rank()} of {ranks.world()}"
