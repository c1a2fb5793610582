"""The project as a clone: its files, its dependencies, its wheel."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

from digrap.core.paths import REPO

PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def tracked():
    run = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git checkout")
    return [line for line in run.stdout.splitlines() if (REPO / line).exists()]


def test_a_clone_has_its_rooms():
    tops = {name.split("/")[0] for name in tracked()}
    assert {
        "configs",
        "digrap",
        "scripts",
        "data",
        "outputs",
        "tests",
        "environment.yml",
        "README.md",
        "Makefile",
    } <= tops


def test_data_and_outputs_are_tracked_by_readme_only():
    names = tracked()
    assert [name for name in names if name.startswith("outputs/")] == ["outputs/README.md"]
    assert {name.split("/")[1] for name in names if name.startswith("data/")} <= {"README.md", "mini", "splits"}


def sources():
    return [name for name in tracked() if name.endswith(".py")]


def test_doors_and_files_stay_small():
    long = {}
    for name in sources():
        lines = len((REPO / name).read_text().splitlines())
        if lines > (40 if "/" not in name or name.startswith("scripts/") else 300):
            long[name] = lines
    assert not long


def test_no_script_or_tool_edits_the_path():
    """The package is installed; what is not found without it says so (scripts/_package.py)."""
    found = [name for name in sources() if name.split("/")[0] in ("scripts", "tools", "train.py", "evaluate.py")]
    assert found and not [name for name in found if "sys.path" in (REPO / name).read_text()]


def test_conda_environment_is_pyproject():
    conda = yaml.safe_load((REPO / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert f"python{PYPROJECT['project']['requires-python']}" in conda
    assert set(pip) == set(PYPROJECT["project"]["dependencies"] + EXTRAS["all"])


def test_lock_has_every_dependency_and_no_address():
    text = (REPO / "requirements.lock").read_text()
    locked = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    wanted = [*PYPROJECT["project"]["dependencies"], *(name for extra in EXTRAS.values() for name in extra)]
    assert {re.split("[>=]", requirement)[0] for requirement in wanted} <= locked
    assert "://" not in text and "--index" not in text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the files of the built wheel, outside of the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(REPO / "build", ignore_errors=True)  # setuptools would pack removed modules of an earlier build
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPO)]
    subprocess.run(build, check=True, capture_output=True)
    shutil.rmtree(REPO / "build", ignore_errors=True)
    (wheel,) = folder.glob("digrap-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(site, *arguments):
    """The output of Python run beside the unpacked wheel, which comes before any installed package."""
    command, environment = [sys.executable, *arguments], os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, check=True).stdout


def test_wheel_imports_without_the_clone(site):
    assert (site / "digrap" / "py.typed").is_file() and (site / "digrap" / "optim" / "digrap.py").is_file()
    assert not (site / "tests").exists()
    assert str(site) in python(site, "-c", "import digrap.optim as optim; print(optim.__file__)")


@pytest.mark.slow
def test_the_wheel_checks_optimizers_without_the_clone(site):
    """The published test vectors are packaged with the check."""
    found = python(site, "-c", "from digrap.optim import check; print(check.VECTORS)").strip()
    assert found == str(site / "digrap" / "optim" / "vectors")
    lines = python(site, "-m", "digrap.optim.check", "digrap.optim:L2SP", "--rule", "l2sp").splitlines()
    assert lines[-1] == "9 cases: 9 equal, 0 deviate, 0 skipped"


def test_the_wheel_builds_its_kernels_without_the_clone(site):
    """The sources of the compiled kernels are packaged."""
    sources = {path.name for path in (REPO / "digrap" / "optim" / "kernels").glob("*.[ch]*")}
    assert {path.name for path in (site / "digrap" / "optim" / "kernels").glob("*.[ch]*")} == sources
    assert {"native.cpp", "common.h"} < sources


def test_the_demo_ends_with_its_page():
    run = subprocess.run(["make", "-n", "demo", "PYTHON=python", "SEEDS=3"], cwd=REPO, capture_output=True, text=True)
    found = [line.split()[1:4] for line in run.stdout.splitlines() if line.startswith("python ") and ".py" in line]
    assert found == [
        ["train.py", "-m", "table=demo"],
        ["scripts/make_tables.py", "table=demo", "seeds=3"],
        ["scripts/report.py", "table=demo", "seeds=3"],
    ]


def test_package_needs_torch_only():
    assert [requirement.split(">")[0] for requirement in PYPROJECT["project"]["dependencies"]] == ["torch"]


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (REPO / ".ci" / "run").read_text()
    assert "make test" in (REPO / "README.md").read_text()
