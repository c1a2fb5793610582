"""The house's one-way imports."""

import ast
import subprocess
import sys

import pytest

from digrap.core.paths import REPO

# A room imports itself and the rooms named here, nothing else.
ALLOWED = {
    "core": set(),
    "optim": set(),
    "config": {"core"},
    "metrics": {"core"},
    "runs": {"core", "config"},
    "tables": {"core", "config", "runs"},
    "report": {"core", "config", "runs", "metrics", "tables"},
    "methods": {"core", "optim"},
    "data": {"core", "metrics"},
    "models": {"core", "data"},
    "tasks": {"core", "metrics", "models"},
    "engine": {"core", "config", "data", "methods", "metrics", "models", "optim", "runs", "tasks"},
    "cli": {"core", "config", "data", "engine", "methods", "metrics", "models", "optim", "report", "runs", "tables"},
}
NO_TORCH = ("core", "config", "metrics", "runs", "tables", "report")


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


def modules_of(room):
    files = sorted((REPO / "digrap" / room).rglob("[!_]*.py"))
    return [".".join(file.relative_to(REPO).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("statement", ["import digrap", "import train", "import evaluate"])
def test_doors_import_no_torch(statement):
    assert "torch" not in modules_after(statement)


@pytest.mark.parametrize("room", NO_TORCH)
def test_rooms_that_read_files_import_no_torch(room):
    assert "torch" not in modules_after(f"import {', '.join(modules_of(room))}")


def test_every_room_has_a_rule():
    rooms = {path.name for path in (REPO / "digrap").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ALLOWED)
    assert {path.name for path in (REPO / "digrap").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_only_the_engine_knows_accelerate():
    users = {
        file.relative_to(REPO).parts[1] for file in (REPO / "digrap").rglob("*.py") if "accelerate" in file.read_text()
    }
    assert users <= {"engine"}
