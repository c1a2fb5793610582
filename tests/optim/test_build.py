"""Building the compiled kernels: once, with a remedy where it fails, and never at import."""

import os
import subprocess
import sys
import warnings

import pytest

from digrap.optim.kernels import build


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library is loaded or kept."""
    monkeypatch.setenv("DIGRAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "FLAGS", ("-std=c++17", "-O0", "-fopenmp", "-fPIC", "-shared"))  # quicker
    build.library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    build.library.cache_clear()


def test_a_library_is_built_once(fresh):
    if build._compiler() is None:
        pytest.skip("no C++ compiler")
    assert build.library("float") is not None
    (made,) = fresh.glob("*.so")
    stamp = made.stat().st_mtime_ns
    build.library.cache_clear()
    assert build.library("float") is not None
    assert [path.stat().st_mtime_ns for path in fresh.glob("*.so")] == [stamp]


def test_a_compiler_that_fails_is_named_with_a_remedy(fresh, monkeypatch, tmp_path):
    broken = tmp_path / "broken++"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 1 && exit\necho "x.cpp:1: error: no such thing" >&2\nexit 1\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.warns(UserWarning, match=r"could not be built with .*broken\+\+: x.cpp:1: error: no such thing"):
        assert build.library("float") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build.library("float") is None  # it is said once
    assert list(fresh.glob("*.so")) == []


@pytest.mark.parametrize("off", [True, False])
def test_without_a_compiler_nothing_is_built_or_said(fresh, monkeypatch, off):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(*(("DIGRAP_NATIVE", "0") if off else ("PATH", str(fresh))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build.library("float") is None


def test_import_builds_nothing(tmp_path):
    code = "from digrap.optim import DiGraP; import torch; DiGraP([torch.zeros(2, requires_grad=True)])"
    environment = os.environ | {"DIGRAP_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
