"""A finished run, ready to publish: `python scripts/export.py outputs/<dataset>/<hash> [out=DIR]`.

Writes model.safetensors, config.yaml, classes.json, results.json and README.md (the card).
"""

import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli.door import bare_keys, door  # noqa: E402
from digrap.config.compose import register_resolvers  # noqa: E402
from digrap.config.schema import typed  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.paths import OUTPUTS  # noqa: E402
from digrap.runs.export import export, read_trained  # noqa: E402
from digrap.runs.folder import RunFolder  # noqa: E402
from digrap.tables.clean import in_megabytes, size_of  # noqa: E402


def main() -> None:
    """Read, write, say what to look at."""
    if len(sys.argv) < 2:
        raise DigrapError("which run? python scripts/export.py outputs/<dataset>/<hash> [out=DIR]")
    run, options = Path(sys.argv[1]), bare_keys(sys.argv[2:], {"out": None})
    register_resolvers()
    results, cfg = read_trained(run)
    from digrap.engine.build import build_data  # torch: not for a refusal

    name = f"{cfg.dataset.name}-{cfg.optim.name}-{run.resolve().name}"
    out = OUTPUTS / "exports" / name if options.out is None else Path(options.out)
    folders = export(run, out, build_data(typed(cfg)).classes, partial(shutil.copyfile, RunFolder(run).weights()))
    print(f"written: {out} ({in_megabytes(size_of(out))})")
    if results.dirty:
        print("note: the run was made with local changes; its commit does not say all of its code")
    if folders:
        print(f"note: config.yaml names folders of this machine: {', '.join(folders)}")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
