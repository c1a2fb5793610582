"""The end of a command whose reader, `| head` for example, has closed the pipe."""

from __future__ import annotations

import os
import sys


def closed_pipe() -> int:
    """Drop what is left to print, about which Python would complain on exit; return the shell's exit code for this."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
