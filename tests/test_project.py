"""The project as a clone: its files, its dependencies, its wheel."""

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
    wanted = PYPROJECT["project"]["dependencies"] + EXTRAS["all"] + EXTRAS["dev"]
    assert {requirement.split(">")[0] for requirement in wanted} <= locked
    assert "://" not in text and "--index" not in text


def test_wheel_imports_without_the_clone(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPO)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("digrap-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "digrap/py.typed" in names and "digrap/optim/digrap.py" in names
    assert not [name for name in names if name.startswith("tests")]
    code = f"import sys; sys.path[0:0] = [{str(tmp_path / 'site')!r}]; import digrap.optim as o; print(o.__file__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(tmp_path) in run.stdout


def test_package_needs_torch_only():
    assert [requirement.split(">")[0] for requirement in PYPROJECT["project"]["dependencies"]] == ["torch"]


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (REPO / ".ci" / "run").read_text()
    assert "make test" in (REPO / "README.md").read_text()
