"""A door called in a process of its own. On Linux it is forked from this one, which has imported torch already."""

import gc
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from digrap.core.paths import REPO

UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # as Python itself begins


def typed(*words) -> subprocess.CompletedProcess:
    """`python <words>` in the repository, by a new interpreter: six seconds of imports for one that trains."""
    return subprocess.run([sys.executable, *map(str, words)], cwd=REPO, capture_output=True, text=True)


def call(*words) -> subprocess.CompletedProcess:
    """The same without the imports; the first word is a script."""
    return begin(*words)()


def begin(*words) -> Callable[[], subprocess.CompletedProcess]:
    """Start the same; what is returned waits for the end."""
    if sys.platform != "linux":  # elsewhere libraries do not survive a fork
        return ThreadPoolExecutor(1).submit(typed, *words).result
    import torch._dynamo  # noqa: F401

    import digrap.engine.run  # noqa: F401  what children share

    out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115  closed at the end
    if (child := os.fork()) == 0:
        gc.freeze()  # garbage that holds threads of the parent aborts the process that collects it
        _be(list(map(str, words)), out.fileno(), err.fileno())

    def end() -> subprocess.CompletedProcess:
        with out, err:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    return end


def _be(words: list[str], out: int, err: int) -> None:
    """End this process as the script would."""
    code = 1
    try:
        _like_a_new_process(out, err)
        sys.argv[:] = words
        sys.path.insert(0, str((REPO / words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _like_a_new_process(out: int, err: int) -> None:
    """Take nothing of pytest's over: streams, logging, warnings, folder."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    logging.getLogger().handlers.clear()
    warnings.showwarning = lambda *message: sys.stderr.write(warnings.formatwarning(*message[:4]))
    warnings.resetwarnings()
    for category in UNSEEN:
        warnings.simplefilter("ignore", category)
    os.chdir(REPO)
