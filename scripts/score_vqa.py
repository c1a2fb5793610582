"""Score VQA predictions as the public scorers do; one JSON object on stdout, remarks on stderr.

    python scripts/score_vqa.py predictions=FILE annotations=FILE [questions=FILE scorer=official2021 key=value …]
    python scripts/score_vqa.py predictions=FILE dataset=vqa_cp [data_root=data key=value …]

predictions   a list of {question_id, answer}, or lmms-eval's samples; format=vqa|lmms_eval (default: by .jsonl)
annotations   VQA annotations, {"annotations": [...]} or a bare list; questions, if given, are held against them
dataset       instead: a set under data_root/vqa, its scored part or part=NAME; or split=NAME of a dataset of train.py
              (vqav2, vqa_json, with dataset.<key>=… options); source=lists: the authors' lists; pictures are not needed
scorer        official2021 (GT-Vision-Lab/VQA; the default), official2017 (the same before 2021; LAVIS), m4c (MMF's, for
              TextVQA)
answer_ids    file: the answers as they are, as the official code takes them (default with annotations=); add: all
              answers told apart (default with dataset=; VizWiz has no answer_id, equal answers drop together with file)
raw_answers   true: OK-VQA's answers as they were typed, not the stemmed ones
duplicates    which of several predictions with one id counts: last, as in the official code; first, as in the authors'
rephrasings   true: consistency and consensus scores of VQA-Rephrasings; questions= needs its rephrasing_of
originals     predictions on the unedited questions, with edit=iv or edit=cv: flip rates of IV-VQA or CV-VQA
strict        true: stop at the first problem; default: count problems, a question without prediction scores 0
out           also write the JSON there; per_question: write each question's accuracy in percent there

Several edits share one question_id: give image_id with the predictions, or "<question_id>/<image_id>" as question_id.
A rephrasing's number may be another question's: "<rephrasing_of>/<question_id>" is its alone.
Accuracies are percent: `accuracy` as it is, `rounded` as the official code prints it, `interval_95` a bootstrap.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from digrap.cli.door import check_flags, door, override, remark, with_overrides  # noqa: E402
from digrap.core.errors import DigrapError, nearest  # noqa: E402
from digrap.core.files import write_json, write_text  # noqa: E402
from digrap.core.json_files import fingerprint  # noqa: E402
from digrap.core.problems import Problems  # noqa: E402
from digrap.metrics.vqa.accuracy import check_scorer  # noqa: E402
from digrap.metrics.vqa.annotations import check_answer_ids, read_annotations  # noqa: E402
from digrap.metrics.vqa.consistency import EDITS, consistency, flips  # noqa: E402
from digrap.metrics.vqa.predictions import by_id, read_predictions  # noqa: E402
from digrap.metrics.vqa.question import Question  # noqa: E402
from digrap.metrics.vqa.score import Scored, score  # noqa: E402

INPUTS = ("predictions", "annotations", "questions", "originals")
OUTPUTS = ("out", "per_question")
DEFAULTS = {
    **dict.fromkeys((*INPUTS, *OUTPUTS, "answer_ids", "format", "edit")),
    **dict.fromkeys(("dataset", "part", "split")),
    "data_root": "data",
    "source": "official",
    "scorer": "official2021",
    "duplicates": "last",
    "raw_answers": False,
    "rephrasings": False,
    "strict": False,
}


def check(options, overrides: list[str]) -> None:
    """Raises DigrapError for options that do not go together."""
    check_scorer(options.scorer)
    if options.predictions is None:
        raise DigrapError("predictions=FILE is missing (--help says more)")
    if (options.annotations is None) == (options.dataset is None):
        raise DigrapError("give annotations=FILE or dataset=NAME, one of them (--help says more)")
    if options.dataset is not None and options.questions is not None:
        raise DigrapError("questions= goes with annotations=; dataset= has its own")
    of_dataset = ("part", "split", "raw_answers", "source", "data_root")
    given = [name for name in of_dataset if options[name] != DEFAULTS[name]]
    if options.dataset is None and (given or overrides):
        raise DigrapError(f"{(given + overrides)[0].partition('=')[0]}= goes with dataset=")
    if options.split is None and overrides or options.split and options.part:
        raise DigrapError("dataset.<key>=… goes with split=, and part= without it: a set's part is all there is of it")
    if any(word.lstrip("+").startswith("dataset.scorer=") for word in overrides):
        raise DigrapError("dataset.scorer=: here it is scorer=")
    check_flags(options, "rephrasings", "strict", "raw_answers")
    for name in (*INPUTS, *OUTPUTS):
        if isinstance(options[name], bool):
            raise DigrapError(f"{name}={options[name]}: give a file")
    if (options.originals is None) != (options.edit is None):
        raise DigrapError("originals= and edit= go together: give both or neither")
    if options.edit is not None and options.edit not in EDITS:
        raise DigrapError(f"edit={options.edit}: choose one of {', '.join(EDITS)}")
    given = [Path(str(options[name])).resolve() for name in INPUTS if options[name] is not None]
    written = [Path(str(options[name])).resolve() for name in OUTPUTS if options[name] is not None]
    for place, path in enumerate(written):
        if path in given or path in written[:place] or path.is_dir():
            raise DigrapError(f"{path} would be overwritten or is a folder: give out= and per_question= other names")


def dataset_entries(
    options, overrides: list[str], answer_ids: str, problems: Problems
) -> tuple[list[Question], dict[str, object], set[str]]:
    """What is scored of `dataset=`, a set's part or a split of one of train.py's datasets; what its result says of the
    split; the ids of questions that the protocol leaves out."""
    from digrap.config.compose import compose  # torch, by way of the datasets: not where files are given
    from digrap.data.vqa.pictures import Questions
    from digrap.data.vqa.reading import read_set
    from digrap.data.vqa.sets import SETS
    from digrap.engine.build import build_data

    name, root = str(options.dataset), Path(str(options.data_root)).expanduser()
    if options.split is None:
        if name not in SETS:
            raise DigrapError(f"dataset={name}: give split=NAME, or one of {', '.join(SETS)}")
        part = options.part or SETS[name].scored_part
        records = read_set(root / "vqa", name, part, problems, options.source)
        return [record.to_score(answer_ids, options.raw_answers) for record in records], {"part": part}, set()
    source = [override("dataset.source", options.source)] if options.source != DEFAULTS["source"] else []
    checks = ["++dataset.check_pictures=false", f"++dataset.strict={str(options.strict).lower()}"]
    cfg = compose([f"dataset={name}", override("data_root", root), *checks, *source, *overrides])
    data = build_data(cfg)
    if options.split not in data.splits:
        raise DigrapError(f"split={options.split}: there is no such split; {nearest(str(options.split), data.splits)}")
    asked = data.splits[options.split].load()
    if not isinstance(asked, Questions):
        raise DigrapError(f"dataset={name}: its splits are no questions; score_ovqa.py scores domainnet_ovqa")
    for faults in asked.faults.values():
        problems.merge(faults)
    said = {"split": options.split, "protocol": data.protocol, "caveats": list(data.caveats)}
    said["left_out"] = len(asked.left_out)  # training has their picture
    entries = [record.to_score(answer_ids, options.raw_answers) for record in asked.records]
    return entries, said, {name for record in asked.left_out for name in (record.id, record.question_id)}


def group_results(options, entries: list[Question], scored: Scored, problems: Problems) -> dict:
    """The numbers about questions that belong together, for what was asked for."""
    result = {}
    if options.rephrasings:
        result["rephrasings"] = consistency(entries, scored.accuracy, problems)
    if options.originals is not None:
        before = by_id(
            read_predictions(str(options.originals), problems, options.format),
            problems,
            "original's prediction",
            options.duplicates,
        )
        result["flips"] = flips(entries, scored.predictions, before, options.edit, problems)
    return result


def write(options, result: dict, scored: Scored) -> None:
    """The files that were asked for."""
    if options.out is not None:
        write_json(Path(str(options.out)), result)
    if options.per_question is not None:
        lines = ",\n".join(json.dumps(row) for row in scored.rows())
        write_text(Path(str(options.per_question)), f"[\n{lines}\n]\n")


def main() -> None:
    """Read, score, print."""
    options, overrides = with_overrides(sys.argv[1:], DEFAULTS)
    check(options, overrides)
    problems = Problems(options.strict)
    questions = None if options.questions is None else str(options.questions)
    answer_ids = options.answer_ids or ("add" if options.scorer == "m4c" or options.dataset else "file")
    check_answer_ids(answer_ids)
    if options.dataset:
        entries, said, left_out = dataset_entries(options, overrides, answer_ids, problems)
        said = {"dataset": options.dataset, **said}
    else:
        entries, said, left_out = read_annotations(str(options.annotations), problems, questions, answer_ids), {}, set()
    predictions = read_predictions(str(options.predictions), problems, options.format)
    predictions = [prediction for prediction in predictions if prediction.question_id not in left_out]
    scored = score(entries, predictions, options.scorer, problems, options.duplicates)
    result = {
        "scorer": options.scorer,
        **said,
        "answer_ids": answer_ids,
        **scored.report(),
        **group_results(options, entries, scored, problems),
        "problems": problems.summary(),
        "files": {name: fingerprint(str(options[name])) for name in INPUTS if options[name] is not None},
    }
    write(options, result, scored)
    remark(problems)
    print(json.dumps(result, indent=2, allow_nan=False))


if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
