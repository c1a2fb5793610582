"""Export a finished run, ready to publish: `python scripts/export.py outputs/<dataset>/<hash> [out=DIR]`.

Writes model.safetensors, config.yaml, classes.json, results.json and README.md (the card).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from digrap.cli.arguments import bare_keys
from digrap.config.compose import register_resolvers
from digrap.config.schema import typed
from digrap.core.errors import DigrapError
from digrap.core.paths import OUTPUTS
from digrap.runs.export import export, read_trained
from digrap.runs.folder import RunFolder
from digrap.tables.clean import in_megabytes, size_of


def main() -> None:
    """Export the run and note what to check before publishing."""
    if len(sys.argv) < 2:
        raise DigrapError("which run? python scripts/export.py outputs/<dataset>/<hash> [out=DIR]")
    run, options = Path(sys.argv[1]), bare_keys(sys.argv[2:], {"out": None})
    register_resolvers()
    results, cfg = read_trained(run)
    from digrap.engine.build import build_data  # torch: a refused call needs none
    from digrap.engine.rescore import write_whole_model

    cfg = typed(cfg)
    classes = build_data(cfg).classes

    name = f"{cfg.dataset.name}-{cfg.optim.name}-{run.resolve().name}"
    out = OUTPUTS / "exports" / name if options.out is None else Path(options.out)
    folders = export(run, out, classes, partial(write_whole_model, cfg, classes, RunFolder(run).weights()))
    print(f"written: {out} ({in_megabytes(size_of(out))})")
    if results.dirty:
        print("note: the run was made with local changes; its commit alone does not reproduce it")
    if folders:
        print(f"note: config.yaml names folders of this machine: {', '.join(folders)}")
