"""Export a finished run, ready to publish: `python scripts/export.py outputs/<dataset>/<hash> [form=FORM] [out=DIR]`.

form=run (the default) writes model.safetensors, config.yaml, classes.json, results.json and README.md (the model
card), and for a run with adapters also adapter/, with only the adapters in peft's format. form=adapter writes only the
adapters, for peft; form=merged the whole model with adapters merged (in float32, then rounded), for transformers; both
with the card. allow=my_package and edited=true work as for evaluate.py: they accept code of your own that the run's
config.yaml calls, and a config.yaml that was changed after the run. outputs=DIR is where `latest` and hashes are looked
up.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from digrap.cli.arguments import bare_keys, check_flags
from digrap.config.schema import typed
from digrap.config.targets import allowed
from digrap.core.errors import DigrapError
from digrap.core.files import inside
from digrap.core.paths import OUTPUTS
from digrap.report.gather import load_run
from digrap.runs.export import export, read_trained
from digrap.runs.export_forms import FORMS, export_form
from digrap.runs.find import find_run
from digrap.runs.folder import RunFolder
from digrap.tables.clean import in_megabytes, size_of


def main() -> None:
    """Export the run and note what to check before publishing."""
    if len(sys.argv) < 2:
        raise DigrapError("which run? python scripts/export.py outputs/<dataset>/<hash> [out=DIR]")
    known = {"form": "run", "out": None, "allow": None, "edited": False, "outputs": str(OUTPUTS)}
    options = bare_keys(sys.argv[2:], known)
    run = find_run(sys.argv[1].removeprefix("run="), Path(options.outputs))
    check_flags(options, "edited")
    if options.form not in FORMS:
        raise DigrapError(f"form={options.form}: choose one of {', '.join(FORMS)}")
    trust = {"allow": allowed(options.allow), "edited": options.edited}
    results, cfg = read_trained(run, **trust)
    _check_scores(run)
    from digrap.engine.build import build_data  # torch: a refused call needs none
    from digrap.engine.export_forms import write_adapter_form, write_merged_form
    from digrap.engine.rescore import write_whole_model

    cfg = typed(cfg)
    classes = build_data(cfg).classes

    kind = "" if options.form == "run" else f"-{options.form}"
    name = f"{cfg.dataset.name}-{cfg.optim.name}-{run.resolve().name}{kind}"
    exports = OUTPUTS / "exports"
    out = inside(exports, name, str(RunFolder(run).config_file)) if options.out is None else Path(str(options.out))
    writers = {"run": write_whole_model, "adapter": write_adapter_form, "merged": write_merged_form}
    write = partial(writers[options.form], cfg, classes, RunFolder(run).weights())
    if options.form == "run":
        folders = export(run, out, classes, write, **trust)
    else:
        folders = export_form(run, out, options.form, write, **trust)
    print(f"written: {out} ({in_megabytes(size_of(out))})")
    if results.dirty:
        print("note: the run was made with local changes; its commit alone does not reproduce it")
    if folders:
        file = "config.yaml" if options.form == "run" else "README.md"
        print(f"note: {file} contains folders of this machine: {', '.join(folders)}")


def _check_scores(folder: Path) -> None:
    """Raise DigrapError where the predictions, if they can be read, give other scores than results.json."""
    run = load_run(folder)
    if not run.bundle_file.exists():
        return
    try:
        run.bundle  # noqa: B018  reads it
    except DigrapError as error:
        print(f"note: the scores were not checked against the predictions: {error}")
        return
    for split, metric in run.stored_scores:
        run.example_scores(split, metric)
