"""The house's one-way imports."""

import ast
import subprocess
import sys

import pytest

from digrap.paths import REPO

COMMON = {"bundle", "errors", "files", "paths", "problems", "progress", "reading"}
ALLOWED = {
    "optim": set(),
    "methods": COMMON | {"optim"},
    "scorers": COMMON - {"progress"},
    "data": COMMON | {"scorers"},
    "models": COMMON | {"data"},
    "tasks": COMMON | {"data", "models", "scorers"},
    "engine": COMMON | {"cli", "config", "data", "methods", "models", "optim", "tasks"},
    "results": COMMON - {"progress"} | {"cli", "config"},
}


def imported_rooms(room):
    for file in (REPO / "digrap" / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                names = [node.module]
            for name in names:
                if name.startswith("digrap."):
                    yield file, name.split(".")[1]


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_one_way(room):
    bad = [(str(file), name) for file, name in imported_rooms(room) if name not in ALLOWED[room] | {room}]
    assert not bad


def modules_after(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    return {name.split(".")[0] for name in run.stdout.split()}


def test_optimizers_need_torch_only():
    plain = modules_after("import torch.optim")
    extra = modules_after("import digrap.optim") - plain - {"digrap"}
    assert not {name for name in extra if not name.startswith("_") and name not in sys.stdlib_module_names}


RESULTS = sorted(f"digrap.results.{path.stem}" for path in (REPO / "digrap" / "results").glob("[!_]*.py"))


SCORERS = sorted(f"digrap.scorers.{path.stem}" for path in (REPO / "digrap" / "scorers").glob("[!_]*.py"))


@pytest.mark.parametrize(
    "statement", ["import digrap", "import train", *(f"import {', '.join(room)}" for room in (RESULTS, SCORERS))]
)
def test_doors_results_and_scorers_import_no_torch(statement):
    assert "torch" not in modules_after(statement)


def test_only_the_engine_knows_accelerate():
    users = {
        file.relative_to(REPO).parts[1] for file in (REPO / "digrap").rglob("*.py") if "accelerate" in file.read_text()
    }
    assert users <= {"engine"}
