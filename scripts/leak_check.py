"""What training has of the tests: `python scripts/leak_check.py protocol=paper`.

    dataset=vqav2        any dataset whose splits are questions: vqav2, vqa_json, domainnet_ovqa (whose pictures
                         are looked for; those of the others need not be there)
    protocol=            of vqav2: clean or paper; default: the config's
    data_root=data       where the files are
    out=                 where the counts go as JSON; default outputs/leaks/<dataset>[-<protocol>].json
    dataset.<key>=…      any other option of the dataset's config

Every test question and picture that occurs in training is counted, by id and by text and picture (docs/datasets.md).
A training run makes and keeps the same table.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli.door import door, override, with_overrides  # noqa: E402
from digrap.config.compose import compose  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402
from digrap.core.files import write_json  # noqa: E402
from digrap.core.paths import OUTPUTS  # noqa: E402
from digrap.core.progress import console  # noqa: E402

DEFAULTS = {"dataset": "vqav2", "protocol": None, "data_root": "data", "out": None}


def main() -> None:
    """Read every split, count, print, save."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, further = with_overrides(sys.argv[1:], DEFAULTS)
    protocol = [override("dataset.protocol", options.protocol)] if options.protocol else []
    words = [f"dataset={options.dataset}", override("data_root", options.data_root), *protocol]
    cfg = compose(
        [*words, "++dataset.check_pictures=false", *further]
    )  # what is asked of which picture is in the lists

    from digrap.data.vqa.leakage import leakage_table  # torch: not before the options are known to be good
    from digrap.engine.build import build_data

    data = build_data(cfg)
    if data.about is None or not (found := data.about()).get("leaks"):
        raise DigrapError(f"dataset={options.dataset}: its splits are no questions, nothing is compared")
    name = options.dataset + (f"-{cfg.dataset.protocol}" if "protocol" in cfg.dataset else "")
    out = Path(str(options.out or OUTPUTS / "leaks" / f"{name}.json"))
    write_json(out, {"dataset": options.dataset, "protocol": data.protocol, "caveats": list(data.caveats), **found})
    show(data, found, leakage_table(found["leaks"]))
    print(out)


def show(data, found: dict, table) -> None:
    """Print caveats and counts; what was wrong with the files was logged as they were read."""
    screen = console()
    if data.protocol:
        screen.print(f"protocol: {data.protocol}; {found['training_questions']:,} training questions")
    for caveat in data.caveats:
        screen.print(f"! {caveat}")
    screen.print(table)
    tests = [counts for name, counts in found["leaks"].items() if data.splits[name].kind != "id_val"]
    leaked = sum(counts["questions_leaked"] for counts in tests)
    seen = sum(counts["questions_on_leaked_pictures"] for counts in tests)
    screen.print(f"{leaked:,} test questions are in training; {seen:,} are about a picture that is")


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
