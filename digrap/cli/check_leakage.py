"""Count test examples that occur in the training set: `python scripts/check_leakage.py protocol=paper`.

    dataset=vqav2        any dataset whose splits are questions: vqav2, vqa_json, domainnet_ovqa (the only
                         one that needs its pictures)
    protocol=            for vqav2: clean or paper; default: the config's
    data_root=data       the folder of the files
    out=                 the counts as JSON; default outputs/leaks/<dataset>[-<protocol>].json
    dataset.<key>=…      any other option of the dataset's config

Counts every test question and picture that occurs in training, by id and by text and picture (docs/datasets.md).
A training run makes and keeps the same table.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digrap.cli.arguments import override, with_overrides
from digrap.cli.datasets import dataset_config
from digrap.core.errors import DigrapError
from digrap.core.files import write_json
from digrap.core.paths import DATA, OUTPUTS
from digrap.core.progress import console

if TYPE_CHECKING:
    from digrap.data.splits import DataModule

DEFAULTS = {"dataset": "vqav2", "protocol": None, "data_root": str(DATA), "out": None}


def main() -> None:
    """Read every split, count, print, save."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, overrides = with_overrides(sys.argv[1:], DEFAULTS)
    protocol = [override("dataset.protocol", options.protocol)] if options.protocol else []
    # The files say which question is about which picture: the pictures themselves are not needed.
    cfg = dataset_config(options.dataset, options.data_root, [*protocol, *overrides], check_pictures=False)

    from digrap.engine.build import build_data  # torch: only once the options are known to be good

    data = build_data(cfg)
    if data.about is None or not (found := data.about()).get("leaks"):
        raise DigrapError(f"dataset={options.dataset}: its splits have no questions, so there is nothing to compare")
    name = options.dataset + (f"-{cfg.dataset.protocol}" if "protocol" in cfg.dataset else "")
    out = Path(str(options.out or OUTPUTS / "leaks" / f"{name}.json"))
    write_json(out, {"dataset": options.dataset, "protocol": data.protocol, "caveats": list(data.caveats), **found})
    show(data, found)
    print(out)


def show(data: DataModule, found: dict[str, Any]) -> None:
    """Print caveats and counts; problems of the files were logged as they were read."""
    from digrap.data.vqa.leakage import leakage_table

    screen = console()
    if data.protocol:
        screen.print(f"protocol: {data.protocol}; {found['training_questions']:,} training questions")
    for caveat in data.caveats:
        screen.print(f"! {caveat}")
    screen.print(leakage_table(found["leaks"]))
    tests = [counts for name, counts in found["leaks"].items() if data.splits[name].kind != "id_val"]
    leaked = sum(counts["questions_leaked"] for counts in tests)
    seen = sum(counts["questions_on_leaked_pictures"] for counts in tests)
    screen.print(
        f"{leaked:,} test questions are also training questions; {seen:,} are about a picture in the training set"
    )
