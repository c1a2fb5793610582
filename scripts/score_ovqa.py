"""Score the answers to a split of DomainNet-oVQA; prints one JSON object:

    python scripts/score_ovqa.py predictions=FILE split=sketch [data_root=data] [dataset.version=cleaned …]

    predictions=FILE        [{"question_id", "answer"}, …] or samples of lmms-eval; an id is the place in the list
    format=null             vqa or lmms_eval; null: by the file's name
    split=NAME              real_train, real_val, real, sketch, painting, infograph, clipart or quickdraw
    data_root=data          where lists were fetched to (images are not looked at), and where class embeddings are kept
    dataset.…               as for train.py: dataset.version, dataset.lists, dataset.annotations, dataset.root
    clip=true               false: without ClipM1 and ClipM5, which need open_clip's weights
    clip_model, clip_weights    open_clip's model, and its tag or a file; null: EVA01-g-14, laion400m_s11b_b41k
    device=auto             where texts are embedded, batch_size=256 at a time
    strict=false            true: the first problem (a missing, unknown or duplicate prediction) ends the call
    out=FILE                writes the object there too

acc: the answer is a class's name and the right one; valid_acc: the same of the answers that are some class's name
(valid counts them); EM: it is the right name; Cont: it contains it; ClipM1, ClipM5: by open_clip the right class is
nearest, or among the five nearest. All after one normalisation: letters, digits and single spaces, lower case.
Percent, with 95 % intervals (bootstrap over questions). A question without prediction is wrong everywhere. An answer in
which no letter or digit is left after normalising (`empty` counts them) is wrong as text; ClipMatch embeds it as "".
"""

import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from digrap.cli.door import check_flags, door, override, remark, with_overrides  # noqa: E402
from digrap.config.compose import compose  # noqa: E402
from digrap.core.errors import DigrapError, nearest  # noqa: E402
from digrap.core.files import write_json  # noqa: E402
from digrap.core.json_files import fingerprint  # noqa: E402
from digrap.core.problems import Problems  # noqa: E402
from digrap.data.domainnet.ovqa import open_source, part_of, questions  # noqa: E402
from digrap.metrics.naming import clip_match, naming, simple  # noqa: E402
from digrap.metrics.vqa.predictions import read_predictions  # noqa: E402
from digrap.metrics.vqa.question import Question  # noqa: E402
from digrap.metrics.vqa.score import match  # noqa: E402
from digrap.metrics.vqa.summary import interval  # noqa: E402

DEFAULTS = {
    "predictions": None,
    "format": None,
    "split": None,
    "data_root": "data",
    "clip": True,
    "clip_model": None,
    "clip_weights": None,
    "device": "auto",
    "batch_size": 256,
    "strict": False,
    "out": None,
}


def main() -> None:
    """Read, score, print."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("digrap").setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of each retry, twice
    options, overrides = with_overrides(sys.argv[1:], DEFAULTS)
    check_flags(options, "clip", "strict")
    if not options.predictions:
        raise DigrapError("predictions=FILE is missing: give the file with the answers; --help says more")
    dataset = compose(["dataset=domainnet_ovqa", override("data_root", options.data_root), *overrides]).dataset
    problems = Problems(options.strict)
    said, targets, classes = answers(options, dataset, problems)
    result = {"split": options.split, **text_scores(said, targets, classes)}
    if options.clip:
        from digrap.models.text_tower import load_text_tower  # open_clip takes seconds to import

        model, weights = options.clip_model or dataset.clip.model, options.clip_weights or dataset.clip.weights
        tower = load_text_tower(model, weights, options.device, options.batch_size)
        cache = Path(str(options.data_root)).expanduser() / "clip_match"
        for name, hits in clip_scores(said, targets, classes, tower, cache).items():
            result[name], result["interval_95"][name] = 100 * float(hits.mean()), spread(hits)
        result["clip"] = tower.provenance
    result |= {"predictions": fingerprint(options.predictions), "problems": problems.summary()}
    if options.out:
        write_json(Path(str(options.out)), result)
    remark(problems)
    print(json.dumps(result, indent=2))


def answers(options, dataset, problems: Problems) -> tuple[list[str | None], list[int], tuple[str, ...]]:
    """(answers, None where there is none; labels; class names) of the split's questions in their order."""
    if options.split is None:
        raise DigrapError(f"split=NAME is missing: give one of {', '.join(dataset.splits)}")
    if options.split not in dataset.splits:
        raise DigrapError(
            f"split={options.split}: there is no such split; {nearest(str(options.split), dataset.splits)}"
        )
    split = dataset.splits[options.split]
    source = open_source(dataset.root, dataset.splits, dataset.version, dataset.lists, dataset.annotations)
    listed = source.read(split.domain, part_of(split.kind))
    entries = [Question(record.id, None, record.answers) for record in questions(listed, source.classes, split.kind)]
    _, said = match(entries, read_predictions(options.predictions, problems, options.format), problems)
    return said, [label for _, label in listed], source.classes


def text_scores(said: list[str | None], targets: list[int], classes: tuple[str, ...]) -> dict:
    """n, valid, empty, acc, valid_acc, EM, Cont, and interval_95 of the last four."""
    found = naming([text or "" for text in said], targets, classes)
    parts = {"acc": found.right, "valid_acc": found.right[found.valid], "EM": found.exact, "Cont": found.contained}
    return {
        **found.summary(),
        "empty": sum(text is not None and not simple(text) for text in said),
        "interval_95": {name: spread(hits) for name, hits in parts.items()},
    }


def spread(hits: np.ndarray) -> list[float] | None:
    """The 95 % interval of the hits' share, in percent; None where there is none to count."""
    return interval(hits.astype(float)) if hits.size else None


def clip_scores(
    said: list[str | None], targets: list[int], classes: tuple[str, ...], tower, cache: Path | None = None
) -> dict[str, np.ndarray]:
    """{ClipM1, ClipM5: bool (n,)}; the classes' embeddings are kept in the folder `cache`."""
    from digrap.models.text_tower import class_embeddings

    texts = tower.embed([simple(text or "") for text in said], "embedding answers (batches)")
    hits = clip_match(texts, class_embeddings(tower, [simple(name) for name in classes], cache), targets, (1, 5))
    given = np.array([text is not None for text in said])
    return {f"ClipM{k}": right & given for k, right in hits.items()}


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
