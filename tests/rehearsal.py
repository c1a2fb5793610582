"""A table of the paper from its files to its rendering, on small data and tiny weights: `make rehearsal TABLE=3`, of
the VQA tables with LAVIS's models too: `make rehearsal TABLE=3 BACKBONE=blip_vqa`.

The commands are those of a person who has the data and the weights, over the real configs; what differs is printed:
paths, and the sizes that make it a matter of minutes. The data are drawn in the official layouts, weights are random.
Everything lies in outputs/rehearsal/<table>, which each rehearsal makes anew.
"""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
import safetensors.torch
import timm
import torch
from omegaconf import OmegaConf

from digrap.config.overrides import as_typed
from digrap.core.paths import CONFIGS, OUTPUTS, REPO
from digrap.tables.spec import load_table
from tests.data import make_domainnet, make_vqa
from tests.models import tiny_hf, tiny_lavis_files

SEED, JOBS, POLL_SECONDS = 100, 2, 10
CLIP = "ViT-S-32-alt"  # the smallest of open_clip's models with a text tower of its own
LAVIS, VQA_TABLES = ("blip_vqa", "albef_vqa"), ("3", "4b", "8")
HERE = ["device=cpu", "trainer.threads=1", "trainer.workers=0"]
SMALL = ["trainer.epochs=1", "trainer.batch_size=16", "trainer.micro_batch=8", "trainer.eval_batch_size=128"]
# So many steps that ω learns.
STEPS = ["trainer.epochs=10", "trainer.batch_size=4", "trainer.micro_batch=2", "trainer.eval_batch_size=128"]
NO_IMAGES, DIRTY, ENVIRONMENT = "images=false", "dirty=allow", {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TWO = "trainer.devices=2"
WHY = {
    NO_IMAGES: "download.py counts no pictures: there are fewer than were published",
    TWO: "the first run uses two processes instead of GPUs",
    DIRTY: "make_tables.py takes runs made with uncommitted changes, too",
    "HF_HUB_OFFLINE=1": "nothing is fetched from the hub",
    "OMP_NUM_THREADS=1": f"{JOBS} runs at a time, each on one core",
}


@dataclass(frozen=True)
class Rehearsal:
    """`checks` are the commands before training; `paths` put data and weights in, `sizes` make the runs small."""

    checks: list[list[str]]
    paths: list[str]
    sizes: list[str]


def vqa(root: Path, model: str, small: list[str] = SMALL) -> Rehearsal:
    """Tables 3, 4b and 8: ten VQA sets and a model of transformers or of LAVIS, in a folder each."""
    data_root = make_vqa.make(root / "data").data_root
    data = f"data_root={data_root}"
    checks = [
        ["scripts/download.py", "dataset=vqa_all", "verify_only=true", NO_IMAGES, data],
        ["scripts/check_leakage.py", "protocol=clean", data, f"out={root / 'leaks.json'}"],
    ]
    paths = [as_typed(f"data_root={data_root}")]
    sizes = [*small, "dataset.val_share=0.2"]
    if model in LAVIS:
        made = tiny_lavis_files.make(model, root / model)
        more = [f"backbone={model}", *made.sizes]
        return Rehearsal(checks, [*paths, *map(as_typed, made.paths)], [*more, *sizes])
    return Rehearsal(checks, [*paths, as_typed(f"backbone.model={tiny_hf.MAKERS[model](root / model)}")], sizes)


def naming(root: Path, model: str) -> Rehearsal:
    """Tables 2 and 9: DomainNet, a model of transformers and a text tower for ClipMatch."""
    checks, paths = _domainnet(root)
    tower = _clip(root)
    paths += [as_typed(f"backbone.model={tiny_hf.MAKERS[model](root / model)}")]
    paths += [f"dataset.clip.model={CLIP}", as_typed(f"dataset.clip.weights={tower}")]
    return Rehearsal(checks, paths, SMALL)


def moco(root: Path) -> Rehearsal:
    """Table 1: DomainNet and MoCo-v3's ResNet50, at the place and in the form of the published file."""
    checks, paths = _domainnet(root)
    file = root / "data" / "weights" / "r-50-1000ep.pth.tar"
    file.parent.mkdir()
    state = timm.create_model("resnet50", num_classes=0).state_dict()
    torch.save({"state_dict": {f"module.base_encoder.{name}": value for name, value in state.items()}}, file)
    return Rehearsal(checks, paths, [*SMALL, "backbone.image_size=32"])


def clip(root: Path) -> Rehearsal:
    """Table 10: DomainNet and a CLIP, smaller than the paper's."""
    checks, paths = _domainnet(root)
    paths += [f"backbone.model={CLIP}", as_typed(f"backbone.weights={_clip(root)}")]
    return Rehearsal(checks, paths, [*SMALL, "backbone.image_size=32"])


def _domainnet(root: Path) -> tuple[list[list[str]], list[str]]:
    made = make_domainnet.make(root, counts={"train": 4, "val": 2, "test": 2})
    paths = [as_typed(f"data_root={made.data_root}"), as_typed(f"dataset.lists={made.lists}")]
    folders = [f"data_root={made.data_root}", f"lists={made.lists}"]
    check = ["scripts/download.py", "dataset=domainnet", "verify_only=true", *folders]
    return [check], paths


def _clip(root: Path) -> Path:
    torch.manual_seed(0)
    file = root / "clip.safetensors"
    safetensors.torch.save_file(open_clip.create_model(CLIP).state_dict(), file)
    return file


TABLES: dict[str, Callable[[Path], Rehearsal]] = {
    "1": moco,
    "2": lambda root: naming(root, "paligemma_3b"),
    "3": lambda root: vqa(root, "paligemma_3b"),
    "4b": lambda root: vqa(root, "paligemma_3b", STEPS),
    "8": lambda root: vqa(root, "llava_7b"),
    "9": lambda root: naming(root, "llava_7b"),
    "10": clip,
}


def rehearse(table: str, root: Path, backbone: str | None = None) -> Path:
    """Everything from the check of the files to the rendered table, whose folder is returned; with `backbone`, one of
    `LAVIS`, in place of the table's own. Ends the process where a command fails or a cell stays empty."""
    rehearsal = TABLES[table](root) if backbone is None else vqa(root, backbone)
    name, sizes = small_table(table, root, rehearsal.sizes)
    outputs, options = root / "outputs", [*rehearsal.paths, *sizes, *HERE]
    print(f"Not as in the real experiment: {shlex.join([*rehearsal.sizes, *HERE, f'seed={SEED}'])}; these paths:")
    print(*(f"    {path}" for path in rehearsal.paths), f"    outputs, tables and logs in {root}", sep="\n")
    print("and these settings:")
    checks = {word for command in rehearsal.checks for word in command}
    print(*(f"    {word}: {why}" for word, why in WHY.items() if word != NO_IMAGES or word in checks), sep="\n")
    if name != table:
        print(f"    {name}, which is configs/tables/{table}.yaml but that its blocks' sizes are these")
    for command in rehearsal.checks:
        _run(command, root)
    place = as_typed(f"hydra.run.dir={outputs}/${{dataset.name}}/${{digrap.run_hash:}}")
    _run(["train.py", *first_run(name, options), TWO, place], root)
    named = as_typed(f"table={name}")
    # The dataset is the first override of every table.
    sweep = as_typed(f"hydra.sweep.dir={outputs / load_table(name).overrides[0].removeprefix('dataset=')}")
    _run(["train.py", "-m", named, "dry_run=true", f"seed={SEED}", *options, sweep], root)
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={JOBS}"]
    _run(["train.py", "-m", named, f"seed={SEED}", *options, *launcher, sweep], root, outputs)
    # What is in no hash is no option of these two.
    own = [option for option in options if option.startswith(("backbone", "dataset.", "trainer."))]
    read = [named, f"seeds={SEED}", f"outputs={outputs}", *own]
    _run(["scripts/status.py", *read], root)
    _run(["scripts/make_tables.py", *read, f"out={root / 'tables'}", DIRTY], root)
    with open(root / "tables" / f"{table}.csv", encoding="utf-8") as file:
        empty = {line["row"] for line in csv.DictReader(file) if line["n"] != "1"}
    if empty:
        sys.exit(f"rehearsal of table {table}: no result of {', '.join(sorted(empty))}; see {root / 'log'}")
    if table == "4b" and not (root / "tables" / "4b_omega.png").is_file():
        sys.exit(f"rehearsal of table 4b: no picture of ω (Fig. 9) in {root / 'tables'}")
    return root / "tables"


def first_run(table: str, options: list[str]) -> list[str]:
    """The overrides of a run that trains, by which a dry_run knows what the others cost."""
    loaded = load_table(table, extra=tuple(options))
    row = next(row for row in loaded.rows.values() if "optim=vanilla" in row.overrides)
    return list(loaded.cell(row.label, SEED, row.choices()[0]).overrides)


def small_table(table: str, root: Path, sizes: list[str]) -> tuple[str, list[str]]:
    """The table to name and the sizes to give beside it. Sizes that the table's blocks set (Table 8's batches) no
    command line changes: they then stand in a copy of the table, behind the blocks' own."""
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "tables" / f"{table}.yaml"))
    blocks = {title: own or [] for title, own in (plain.get("blocks") or {}).items()}
    set_there = {override.partition("=")[0] for own in blocks.values() for override in own}
    inside = [size for size in sizes if size.partition("=")[0] in set_there]
    if not inside:
        return table, sizes
    plain["blocks"] = {title: [*own, *inside] for title, own in blocks.items()}
    file = root / f"{table}.yaml"
    OmegaConf.save(OmegaConf.create(plain), file)
    return str(file), [size for size in sizes if size not in inside]


def _run(command: list[str], root: Path, outputs: Path | None = None) -> None:
    """Run a command of the repository; what it prints goes to the terminal, that of a sweep to the file `log`."""
    print(f"\n$ {shlex.join(['python', *command])}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, **ENVIRONMENT}
    with open(root / "log", "a", encoding="utf-8") as log:
        out = log if outputs else None
        process = subprocess.Popen([sys.executable, *command], cwd=REPO, stdout=out, stderr=out, env=environment)
        try:
            while outputs and process.poll() is None:
                time.sleep(POLL_SECONDS)
                count = len(list(outputs.glob("*/*/results.json")))
                print(f"{count} runs finished after {time.monotonic() - began:.0f} s", flush=True)
            process.wait()
        finally:
            process.terminate()
    print(f"({time.monotonic() - began:.0f} s)", flush=True)
    if process.returncode:
        see = f"; see {root / 'log'}" if outputs else ""
        sys.exit(f"rehearsal: that command ended with {process.returncode}{see}")


def main() -> None:
    """Rehearse the table that is named, with the backbone that is."""
    given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    table, backbone = given.get("table", ""), given.get("backbone") or None
    if table not in TABLES:
        sys.exit(f"make rehearsal TABLE=3: give one of {', '.join(TABLES)}")
    if backbone is not None and (backbone not in LAVIS or table not in VQA_TABLES):
        sys.exit(f"make rehearsal BACKBONE={backbone}: give one of {', '.join(LAVIS)}, with TABLE={VQA_TABLES[0]}")
    began, root = time.monotonic(), OUTPUTS / "rehearsal" / (f"{table}-{backbone}" if backbone else table)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    place = rehearse(table, root, backbone)
    print(f"\nTable {table} is rehearsed: {place} after {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
