"""Score VQA predictions as the public scorers do; one JSON object on stdout, problems on stderr.

    python scripts/score_vqa.py predictions=FILE annotations=FILE [questions=FILE scorer=official2021 key=value …]
    python scripts/score_vqa.py predictions=FILE dataset=vqa_cp [data_root=data key=value …]

predictions   a list of {question_id, answer}, or lmms-eval's samples; format=vqa|lmms_eval (default: by the content)
annotations   VQA annotations, {"annotations": [...]} or a bare list, TextVQA's {"data": [...]}, VizWiz's list;
              questions, if given, are compared with them. Files may be JSON lines, or gzipped
dataset       instead: a set under data_root/vqa, its scored part or part=NAME; or split=NAME of a dataset of train.py
              (vqav2, vqa_json, with dataset.<key>=… options); source=lists: the authors' lists; needs no pictures
scorer        official2021 (GT-Vision-Lab/VQA; the default), official2017 (the same before 2021; LAVIS), m4c (MMF's, for
              TextVQA)
answer_ids    file: the answers as they are, as in the official code (default with annotations=); add: all
              answers distinct (default with dataset=; VizWiz has no answer_id: file merges its equal answers)
raw_answers   true: OK-VQA's answers as typed, instead of the stemmed ones
duplicates    which of several predictions with one id counts: last, as in the official code; first, as in the authors'
rephrasings   true: consistency and consensus scores of VQA-Rephrasings; questions= needs its rephrasing_of
originals     predictions on the unedited questions, with edit=iv or edit=cv: flip rates of IV-VQA or CV-VQA
strict        true: stop at the first problem; default: count problems, a question without prediction scores 0
out           also write the JSON to this file; per_question: write each question's accuracy in percent to this file

Several edits share one question_id: give image_id with the predictions, or "<question_id>/<image_id>" as question_id.
An id's leading zeros do not count: "0012" is 12.
A rephrasing may share its number with another question: "<rephrasing_of>/<question_id>" is unique.
Accuracies are percent: `accuracy` unrounded, `rounded` as the official code prints it, `interval_95` from a bootstrap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from digrap.cli import scoring
from digrap.cli.arguments import override
from digrap.cli.datasets import dataset_config
from digrap.core.errors import DigrapError
from digrap.core.files import write_text
from digrap.core.problems import Problems
from digrap.metrics.vqa.accuracy import check_scorer
from digrap.metrics.vqa.annotations import check_answer_ids, read_annotations
from digrap.metrics.vqa.consistency import EDITS, consistency, flips
from digrap.metrics.vqa.ids import Spellings, respelled
from digrap.metrics.vqa.predictions import Prediction, by_id
from digrap.metrics.vqa.question import Question
from digrap.metrics.vqa.score import PLACED, Scored, score

INPUTS = ("predictions", "annotations", "questions", "originals")
OUTPUTS = ("out", "per_question")
ORIGINAL = "original's prediction"
DEFAULTS = {
    **scoring.DEFAULTS,
    **dict.fromkeys((*INPUTS, *OUTPUTS, "answer_ids", "edit", "dataset", "part")),
    "source": "official",
    "scorer": "official2021",
    "duplicates": "last",
    "raw_answers": False,
    "rephrasings": False,
}


@dataclass(frozen=True)
class Scope:
    """The questions to score, `notes` on them for the result, and ids that the protocol leaves out."""

    questions: list[Question]
    notes: dict[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


def main() -> None:
    """Read, score, print."""
    options, overrides = scoring.read_options(DEFAULTS, "rephrasings", "raw_answers")
    check_scorer(options.scorer)
    check_sources(options, overrides)
    check_files(options)
    answer_ids = options.answer_ids or ("add" if options.scorer == "m4c" or options.dataset else "file")
    check_answer_ids(answer_ids)
    problems = Problems(options.strict)
    scope = read_scope(options, overrides, answer_ids, problems)
    given = scoring.predictions_of(options, problems)
    left_out = Spellings(scope.left_out)
    kept = [prediction for prediction in given if left_out.find(prediction.question_id) is None]
    scored = score(scope.questions, kept, options.scorer, problems, options.duplicates)
    result = {
        "scorer": options.scorer,
        **scope.notes,
        "answer_ids": answer_ids,
        **scored.report(),
        **group_results(options, scope.questions, scored, problems),
        "problems": problems.summary(),
        "files": scoring.fingerprints(options, *INPUTS),
    }
    if options.per_question is not None:
        lines = ",\n".join(json.dumps(row) for row in scored.rows())
        write_text(Path(str(options.per_question)), f"[\n{lines}\n]\n")
    scoring.publish(result, problems, options.out)


def check_sources(options: DictConfig, overrides: list[str]) -> None:
    """Raise DigrapError for options about the questions that do not go together."""
    if (options.annotations is None) == (options.dataset is None):
        raise DigrapError("give either annotations=FILE or dataset=NAME (--help explains both)")
    if options.dataset is not None and options.questions is not None:
        raise DigrapError("questions= needs annotations=; with dataset= leave it out")
    of_dataset = ("part", "split", "raw_answers", "source", "data_root")
    given = [name for name in of_dataset if options[name] != DEFAULTS[name]]
    if options.dataset is None and (given or overrides):
        raise DigrapError(f"{(given + overrides)[0].partition('=')[0]}= needs dataset=")
    if options.split is None and overrides or options.split and options.part:
        raise DigrapError("dataset.<key>=… needs split=, and part= needs a set without split=")
    if any(word.lstrip("+").startswith("dataset.scorer=") for word in overrides):
        raise DigrapError("dataset.scorer=: use scorer= here")


def check_files(options: DictConfig) -> None:
    """Raise DigrapError for files that do not go together, or that would be overwritten."""
    if (options.originals is None) != (options.edit is None):
        raise DigrapError("originals= and edit= go together: give both or neither")
    if options.edit is not None and options.edit not in EDITS:
        raise DigrapError(f"edit={options.edit}: choose one of {', '.join(EDITS)}")
    read = [Path(str(options[name])).resolve() for name in INPUTS if options[name] is not None]
    written = [Path(str(options[name])).resolve() for name in OUTPUTS if options[name] is not None]
    for place, path in enumerate(written):
        if path in read or path in written[:place] or path.is_dir():
            raise DigrapError(f"{path} would be overwritten or is a folder: give out= and per_question= other names")


def read_scope(options: DictConfig, overrides: list[str], answer_ids: str, problems: Problems) -> Scope:
    """Read the questions of the given files, of a set's part, or of a split of one of train.py's datasets."""
    if not options.dataset:
        file = None if options.questions is None else str(options.questions)
        return Scope(read_annotations(str(options.annotations), problems, file, answer_ids))
    if options.split is None:
        return part_scope(options, answer_ids, problems)
    return split_scope(options, overrides, answer_ids, problems)


def part_scope(options: DictConfig, answer_ids: str, problems: Problems) -> Scope:
    """Read a part of a VQA set. Raises DigrapError for an unknown set."""
    from digrap.data.vqa.read_set import read_set  # the datasets import torch, which given files do not need
    from digrap.data.vqa.sets import SETS

    name = str(options.dataset)
    if name not in SETS:
        raise DigrapError(f"dataset={name}: give split=NAME, or one of {', '.join(SETS)}")
    part = options.part or SETS[name].scored_part
    records = read_set(scoring.data_root(options) / "vqa", name, part, problems, options.source)
    questions = [record.to_score(answer_ids, options.raw_answers) for record in records]
    return Scope(questions, {"dataset": options.dataset, "part": part})


def split_scope(options: DictConfig, overrides: list[str], answer_ids: str, problems: Problems) -> Scope:
    """Read a split of one of train.py's datasets. Raises DigrapError for an unknown one or one without questions."""
    from digrap.data.vqa.pictures import Questions
    from digrap.engine.build import build_data

    source = [override("dataset.source", options.source)] if options.source != DEFAULTS["source"] else []
    root, flags = scoring.data_root(options), {"check_pictures": False, "strict": options.strict}
    data = build_data(dataset_config(options.dataset, root, [*source, *overrides], **flags))
    scoring.check_split(options.split, data.splits)
    loaded = data.splits[options.split].load()
    if not isinstance(loaded, Questions):
        raise DigrapError(f"dataset={options.dataset}: it has no questions; score_ovqa.py scores domainnet_ovqa")
    for faults in loaded.faults.values():
        problems.merge(faults)
    notes = {
        "dataset": options.dataset,
        "split": options.split,
        "protocol": data.protocol,
        "caveats": list(data.caveats),
        "left_out": len(loaded.left_out),  # training has their picture
    }
    questions = [record.to_score(answer_ids, options.raw_answers) for record in loaded.records]
    left_out = frozenset(name for record in loaded.left_out for name in (record.id, record.question_id))
    return Scope(questions, notes, left_out)


def group_results(options: DictConfig, questions: list[Question], scored: Scored, problems: Problems) -> dict[str, Any]:
    """Return the scores of questions that belong together: rephrasings, or edits and their originals, as chosen."""
    result = {}
    if options.rephrasings:
        result["rephrasings"] = consistency(questions, scored.accuracy, problems)
    if options.originals is not None:
        before = by_id(named_originals(options, questions, problems), problems, ORIGINAL, options.duplicates)
        result["flips"] = flips(questions, scored.predictions, before, options.edit, problems)
    return result


def named_originals(options: DictConfig, questions: list[Question], problems: Problems) -> list[Prediction]:
    """Read the predictions on the originals, with their ids as the edits spell them; those with a place alone are left
    out and counted. Raises DigrapError where there is no other."""
    found = respelled(questions, scoring.predictions_of(options, problems, "originals"))
    named = [prediction for prediction in found if not prediction.placed]
    if not named:
        raise DigrapError(
            f"originals={options.originals}: doc_id alone does not identify a question; add question_id to the samples"
        )
    for prediction in found:
        if prediction.placed:
            problems.add(f"{ORIGINAL}: {PLACED}", prediction.where())
    return named
