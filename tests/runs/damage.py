"""A small world of runs, ways to damage a file of it, and the doors that read it, called in this process."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from digrap.cli.door import door
from digrap.core.files import write_text
from digrap.engine import provenance
from digrap.engine import run as engine
from digrap.engine.fit import Fit
from digrap.engine.rescore import rescore
from digrap.runs.folder import RunFolder
from digrap.tables import spec
from digrap.tables.spec import Table, load_table
from tests.synthetic_runs import script

SPLITS = ("real", "clipart", "sketch", "painting", "infograph", "quickdraw")
TINY = [
    "dataset.splits.real_train.size=64", *(f"dataset.splits.{name}.size=20" for name in ("real_val", *SPLITS)),
    "trainer.micro_batch=32", "trainer.batch_size=32", "trainer.epochs=2", "trainer.validate_every=1",
    "log_every=1", "device=cpu",
]  # fmt: skip
TABLE = """
title: A small table
overrides: [{overrides}]
seeds: [100]
rows:
  zero-shot: [optim=zero_shot]
  DiGraP: [optim=digrap, trainer.epochs=1]
  stopped: [optim=digrap, trainer.checkpoint_minutes=0]
  vanilla: [optim=vanilla, trainer.epochs=1]
  WiSE: [optim=wise_ft, trainer.epochs=1, "optim.curve=[0.0, 1.0]"]
"""
DONE, STOPPED, VARIANTS, OTHER = "DiGraP", "stopped", "WiSE", "zero-shot"


@dataclass(frozen=True)
class World:
    """Finished and stopped runs of a table in `outputs`; `published` has the table of the finished ones."""

    root: Path
    table: Table

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def published(self) -> Path:
        return self.root / "published"

    def config(self, row):
        return self.table.cell(row, 100).config

    def run(self, row) -> Path:
        return self.table.cell(row, 100).folder(self.outputs)

    def files(self) -> dict[str, bytes]:
        """What is there: path → content; what readers write for themselves is not."""
        found = {path.relative_to(self.root).as_posix(): path for path in self.root.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if not name.startswith("written")}

    def copy(self, place: Path) -> World:
        shutil.copytree(self.root, place)
        return World(place, self.table)


def make_world(root: Path, data: Path) -> World:
    """A world under `root`; call it where spec.CONFIGS is `root`/configs."""
    overrides = ", ".join([*TINY, f"data_root={data}"])
    write_text(spec.CONFIGS / "tables" / "small.yaml", TABLE.format(overrides=overrides))
    world = World(root, load_table("small"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: {"commit": "0" * 40, "dirty": False})
        for row in (OTHER, DONE, "vanilla"):
            engine.run(world.config(row), world.run(row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "_step", _stopping(Fit._step, 3))
        with contextlib.suppress(KeyboardInterrupt):
            engine.run(world.config(STOPPED), world.run(STOPPED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write_variants", _stopping_after(RunFolder.write_variants))
        with contextlib.suppress(KeyboardInterrupt):
            engine.run(world.config(VARIANTS), world.run(VARIANTS))
    (world.run(DONE) / "data.json").write_text("{}")  # no reader needs it
    _script("make_tables", "table=small", f"outputs={world.outputs}", f"publish={world.published}",
            f"out={root / 'written'}")  # fmt: skip
    return world


def _stopping(step, last):
    def stopping(self, batches):
        if self.position.step == last:
            raise KeyboardInterrupt
        step(self, batches)

    return stopping


def _stopping_after(write):
    def stopping(self, scores):
        write(self, scores)
        raise KeyboardInterrupt

    return stopping


# --- damages: path → what is done to it ------------------------------------------------------------------------------


def _folder(path):
    path.unlink()
    path.mkdir()


def _flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x80
    path.write_bytes(data)


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": _flipped,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "folder": _folder,
}
SHAPES = {name: lambda path, text=name: path.write_text(text) for name in ("{}", "[]", "null", "3")}


# --- readers: world → what they print; DigrapErrors come out -------------------------------------------------------


def _script(name, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        script(name).main()


def _evaluate(world):
    options = {"run": str(world.run(DONE)), "split": "sketch", "out": None, "bundle": None, "device": "cpu"}
    rescore(OmegaConf.create(options))


def _train(row):
    def train(world):
        engine.run(world.config(row), world.run(row))
        print(RunFolder(world.run(row)).results().scores)

    return train


READERS = {
    "evaluate": _evaluate,
    "export": lambda world: _script("export", world.run(DONE), f"out={world.root / 'written' / 'export'}"),
    "make_tables": lambda world: _script("make_tables", "table=small", f"outputs={world.outputs}",
                                         f"out={world.root / 'written'}"),
    "clean": lambda world: _script("clean", f"outputs={world.outputs}"),
    "compare": lambda world: _script("compare", world.run(DONE), world.run(OTHER)),
    "status": lambda world: _script("status", "table=small", f"outputs={world.outputs}"),
    "verify": lambda world: _script("verify", f"results={world.published}"),
    "compare_published": lambda world: _script("compare", *(world.published / "small" / "runs" / world.run(row).name
                                                            for row in (DONE, OTHER))),
    "train": _train(DONE), "train_stopped": _train(STOPPED), "train_variants": _train(VARIANTS),
}  # fmt: skip


def read(reader: str, world: World) -> tuple[int, str, str]:
    """The exit code of a reader, and what it prints to stdout and stderr, without the world's place."""
    shutil.rmtree(world.root / "written", ignore_errors=True)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = door(lambda: READERS[reader](world))
    return code, *(stream.getvalue().replace(str(world.root), "<world>") for stream in (out, err))
