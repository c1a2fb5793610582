"""Score the answers to a split of DomainNet-oVQA; prints one JSON object:

    python scripts/score_ovqa.py predictions=FILE split=sketch [data_root=data] [dataset.version=cleaned …]

    predictions=FILE        [{"question_id", "answer"}, …] or samples of lmms-eval; an id is the index in the list
    format=null             vqa or lmms_eval; null: by the file's content
    split=NAME              real_train, real_val, real, sketch, painting, infograph, clipart or quickdraw
    data_root=data          the folder of downloaded lists (images are not read) and of cached class embeddings
    dataset.…               as for train.py: dataset.version, dataset.lists, dataset.annotations, dataset.root
    clip=true               false: without ClipM1 and ClipM5, which need open_clip's weights
    clip_model, clip_weights    open_clip's model, and its tag or a file; null: EVA01-g-14, laion400m_s11b_b41k
    device=auto             where texts are embedded, batch_size=256 at a time
    strict=false            true: stop at the first problem (a missing, unknown or duplicate prediction)
    out=FILE                also write the object to this file

acc: the answer is the right class's name; valid_acc: the same among the answers that are some class's name (valid
counts them); EM: the answer equals the right name; Cont: it contains the right name; ClipM1, ClipM5: the right class is
the nearest, or among the five nearest, by open_clip. All after one normalisation: letters, digits and single spaces, in
lower case. Percent, with 95 % intervals (bootstrap over questions). A question without prediction is wrong everywhere.
An answer that is empty once normalised (`empty` counts them) is wrong as text; ClipMatch embeds it as "".
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from digrap.cli import scoring
from digrap.cli.datasets import dataset_config
from digrap.core.problems import Problems
from digrap.data.domainnet.ovqa import open_source, part_of, questions
from digrap.metrics import naming
from digrap.metrics.naming import interval, simple, text_scores
from digrap.metrics.vqa.score import match

DEFAULTS = {
    **scoring.DEFAULTS,
    "clip": True,
    "clip_model": None,
    "clip_weights": None,
    "device": "auto",
    "batch_size": 256,
}


def main() -> None:
    """Read, score, print."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("digrap").setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each retry, twice
    options, overrides = scoring.read_options(DEFAULTS, "clip")
    dataset = dataset_config("domainnet_ovqa", options.data_root, overrides).dataset
    problems = Problems(options.strict)
    answers, targets, classes = read_answers(options, dataset, problems)
    result = {"split": options.split, **text_scores(answers, targets, classes)}
    if options.clip:
        add_clip_scores(result, options, dataset, answers, targets, classes)
    result |= {**scoring.fingerprints(options, "predictions"), "problems": problems.summary()}
    scoring.publish(result, problems, options.out)


def read_answers(
    options: DictConfig, dataset: DictConfig, problems: Problems
) -> tuple[list[str | None], list[int], tuple[str, ...]]:
    """Return the split's answers in its questions' order (None where one is missing), labels, and class names."""
    scoring.check_split(options.split, dataset.splits)
    split = dataset.splits[options.split]
    source = open_source(dataset.root, dataset.splits, dataset.version, dataset.lists, dataset.annotations)
    listed = source.read(split.domain, part_of(split.kind))
    asked = questions(listed, source.classes, split.kind)
    _, answers = match(asked, scoring.predictions_of(options, problems), problems)
    return answers, [label for _, label in listed], source.classes


def add_clip_scores(
    result: dict[str, Any],
    options: DictConfig,
    dataset: DictConfig,
    answers: list[str | None],
    targets: list[int],
    classes: tuple[str, ...],
) -> None:
    """Add ClipM1 and ClipM5, their intervals, and which weights gave them."""
    from digrap.models.text_tower import load_text_tower  # open_clip takes seconds to import

    model, weights = options.clip_model or dataset.clip.model, options.clip_weights or dataset.clip.weights
    tower = load_text_tower(model, weights, options.device, options.batch_size)
    cache = scoring.data_root(options) / "clip_match"
    for name, hits in clip_scores(answers, targets, classes, tower, cache).items():
        result[name], result["interval_95"][name] = 100 * float(hits.mean()), interval(hits)
    result["clip"] = tower.provenance


def clip_scores(
    answers: list[str | None], targets: list[int], classes: tuple[str, ...], tower, cache: Path | None = None
) -> dict[str, np.ndarray]:
    """Return {ClipM1, ClipM5: bool (n,)}; the classes' embeddings are kept in the folder `cache`."""
    from digrap.models.text_tower import class_embeddings

    known = class_embeddings(tower, [simple(name) for name in classes], cache)
    return naming.clip_scores(answers, targets, partial(tower.embed, description="embedding answers"), known)
