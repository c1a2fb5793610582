"""Build, keep and load the compiled kernels, one library for each dtype."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

SCALARS = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}  # what a library is built for
SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
LIMIT = 300  # seconds that a build may take


@cache
def library(scalar: str) -> ctypes.CDLL | None:
    """The kernels for "float", "double" or "bfloat16"; None where they are turned off, there is no compiler, or the
    build fails, which a warning reports."""
    if os.environ.get("DIGRAP_NATIVE") == "0":
        return None
    compiler = _compiler()
    if compiler is None:
        if given := os.environ.get("CXX"):
            warnings.warn(
                f"digrap.optim: CXX={given} is not a program, so no kernels are compiled and slower code is used; set "
                "CXX to a C++ compiler, or unset it to search for one.",
                stacklevel=2,
            )
        return None
    try:
        return ctypes.CDLL(str(_built(compiler, scalar)))
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = next((line for line in said if "error" in line), said[0] if said else type(error).__name__)
        warnings.warn(
            f"digrap.optim: the compiled kernels could not be built with {compiler}: {reason}. Slower code is used; "
            "set CXX to another compiler, or DIGRAP_NATIVE=0 to build none.",
            stacklevel=2,
        )
        return None


def _compiler() -> str | None:
    """The path of the C++ compiler: $CXX alone if that is set."""
    names = [given] if (given := os.environ.get("CXX")) else ["c++", "g++", "clang++"]
    return next(filter(None, map(shutil.which, names)), None)


def _built(compiler: str, scalar: str) -> Path:
    """The library's file. It is built if it is not there, to a temporary name first."""
    sources = sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")])
    openmp = _openmp()
    known = [*(path.read_bytes() for path in sources), *map(str.encode, (*FLAGS, scalar, str(openmp), _processor()))]
    known.append(_run([compiler, "--version"]).encode())
    folder = _folder()
    path = folder / f"{scalar}-{hashlib.sha256(bytes(1).join(known)).hexdigest()[:20]}.so"
    if path.is_file():
        return path
    with _alone(folder), tempfile.TemporaryDirectory(dir=folder) as scratch:
        if path.is_file():  # another process built it meanwhile
            return path
        made = Path(scratch) / path.name
        command = [compiler, *FLAGS, f"-DSCALAR={scalar}", str(SOURCES / "native.cpp"), *openmp, "-o", str(made)]
        _run(command)
        os.replace(made, path)
    return path


def _run(command: list[str]) -> str:
    """What a command prints. Raises subprocess.SubprocessError where it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process builds at a time, where the system has locks; without them several build the same file."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _openmp() -> list[str]:
    """Linker arguments that name torch's own OpenMP library, so that there is one pool of threads."""
    own = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return [str(own[0])] if own else []


def _folder() -> Path:
    """Where libraries are kept: a folder of this user's alone, as code is loaded from it."""
    root = (
        os.environ.get("DIGRAP_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "digrap"
    )
    folder = Path(root) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="digrap-"))


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    )
