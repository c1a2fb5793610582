"""Count a dataset's parts and draw a few of its pictures: `python scripts/show_dataset.py dataset=vqa_cp`.

dataset=             a VQA set (vqav2, iv_vqa, cv_vqa, vqa_rephrasings, vqa_cp, vqa_ce, advqa, textvqa, vizwiz,
                     ok_vqa), vqa_all for all ten, or any dataset of train.py (minidomainnet, vqa_json, …)
data_root=data       where its files are
source=official      of a VQA set: lists reads the authors' list files
undo_rotation=false  of TextVQA: turn the pictures that are stored turned
examples=6           pictures on the sheet
seed=0               which ones
out=                 the sheet; default outputs/show/<dataset>.png
dataset.<key>=…      options of train.py's datasets
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli.door import check_flags, check_whole, door, override, with_overrides  # noqa: E402
from digrap.config.compose import compose  # noqa: E402
from digrap.core.errors import DigrapError, nearest  # noqa: E402
from digrap.core.files import write_atomically  # noqa: E402
from digrap.core.paths import CONFIGS, OUTPUTS  # noqa: E402
from digrap.core.progress import console  # noqa: E402
from digrap.data.vqa.sets import SETS  # noqa: E402

DEFAULTS = {
    "dataset": None, "data_root": "data", "source": "official", "undo_rotation": False, "examples": 6, "seed": 0,
    "out": None,
}  # fmt: skip


def main() -> None:
    """Read, count, draw, and say where the drawing is."""
    options, further = with_overrides(sys.argv[1:], DEFAULTS)
    known = [*SETS, "vqa_all", *sorted({path.stem for path in (CONFIGS / "dataset").glob("*.yaml")} - set(SETS))]
    if options.dataset not in known:
        raise DigrapError(f"dataset={options.dataset}: {nearest(str(options.dataset), known)}")
    check_flags(options, "undo_rotation")
    check_whole(options, examples=(1, 60), seed=(0, 2**32 - 1))
    a_set = options.dataset in SETS or options.dataset == "vqa_all"
    if further if a_set else (options.source != "official" or options.undo_rotation):
        goes = "dataset.<key>=… goes with other datasets" if a_set else "source= and undo_rotation= go with VQA sets"
        raise DigrapError(f"dataset={options.dataset}: {goes}")
    parts, kinds, classes, problems = load(options, further)

    from digrap.data.show import count_table, examples, sheet

    screen = console()
    screen.print(count_table(parts, kinds))
    for name, found in problems.items():
        for line in found.lines():
            screen.print(f"{name}: {line}")
    drawn = examples(parts, classes, options.examples, options.seed)
    screen.print(f"an example, {drawn[0][1]}: {drawn[0][2]}")
    out = Path(str(options.out or OUTPUTS / "show" / f"{options.dataset}.png"))
    figure = sheet(drawn)
    write_atomically(out, lambda file: figure.savefig(file, format="png", bbox_inches="tight"))
    print(out)


def load(options, further: list[str]) -> tuple:
    """(parts, their kinds, class names, problems) of the dataset."""
    from digrap.data.show import load_sets
    from digrap.engine.build import build_data

    problems = {}
    if options.dataset in SETS or options.dataset == "vqa_all":
        names = list(SETS) if options.dataset == "vqa_all" else [options.dataset]
        root = Path(str(options.data_root)).expanduser() / "vqa"
        parts = load_sets(root, names, options.source, problems, options.undo_rotation)
        return parts, {key: SETS[key.split()[0]].kind for key in parts}, (), problems
    data = build_data(compose([f"dataset={options.dataset}", override("data_root", options.data_root), *further]))
    parts = {name: split.load() for name, split in data.splits.items()}
    return parts, {name: split.kind for name, split in data.splits.items()}, data.classes, problems


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
