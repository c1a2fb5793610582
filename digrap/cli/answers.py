"""Write a finished run's answers in the formats of other tools, from its prediction bundle; the model does not run.

    python scripts/answers.py run=outputs/vqav2/<hash> split=vqav2_val out=answers.json
    python scripts/answers.py run=<hash> format=lmms_eval split=all out=answers

run       the run's folder, or its hash where it lies under outputs= (default: outputs)
split     a split, or all (the default): then `out` is a folder with one file per split
format    vqa: a list of {question_id, answer}, which the official evaluators read: ids are whole numbers where theirs
          are, edits of one question have their image_id, VizWiz's answers are {image, answer}.
          lmms_eval: one line per question, as lmms-eval logs samples: doc_id (the place in the split), target, input
          (the prompt), filtered_resps, the score by every scorer in [0, 1], and submission, the entry of format=vqa.
          It adds what lmms-eval's files leave out: doc, arguments (prompt, decoding, doc_id, dataset, split) and resps.
          The hashes of doc, prompt and target are left out
out       the file or folder; existing files are not replaced

allow=my_package and edited=true work as for evaluate.py. The dataset's files are needed, its pictures are not.
`scripts/score_vqa.py predictions=FILE dataset=NAME split=NAME` scores either form to the run's own accuracy.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from digrap.cli.arguments import bare_keys, check_flags
from digrap.config.schema import typed
from digrap.config.targets import allowed
from digrap.core.errors import DigrapError, nearest
from digrap.core.files import write_text
from digrap.core.paths import OUTPUTS
from digrap.metrics.vqa.predictions import FORMATS
from digrap.metrics.vqa.question import Question
from digrap.report.gather import Run, load_run
from digrap.runs.checked_config import checked_config
from digrap.runs.find import find_run
from digrap.runs.folder import RunFolder

ALL = "all"
ENDINGS = {"vqa": "{split}.json", "lmms_eval": "samples_{dataset}_{split}.jsonl"}  # lmms-eval: <date>_samples_<task>
DEFAULTS = {
    "run": None, "split": ALL, "format": FORMATS[0], "out": None, "allow": None, "edited": False,
    "outputs": str(OUTPUTS),
}  # fmt: skip


def main() -> None:
    """Read the bundle and the questions, write, print what was written."""
    options = bare_keys(sys.argv[1:], DEFAULTS)
    check_flags(options, "edited")
    if options.format not in FORMATS:
        raise DigrapError(f"format={options.format}: choose one of {', '.join(FORMATS)}")
    if missing := [key for key in ("run", "out") if options[key] is None]:
        raise DigrapError(f"{missing[0]}= is missing: give run=outputs/<dataset>/<hash> and out=<file or folder>")
    folder = find_run(options.run, Path(options.outputs))
    run = load_run(folder)
    files = files_of(run, options)
    cfg = checked_config(RunFolder(folder), allowed(options.allow), options.edited)
    for split, questions in questions_of(run, typed(cfg), list(files)):
        entries = vqa_entries(questions, run.bundle.answers(split))
        if options.format == "vqa":
            text = json.dumps(entries)
        else:
            text = "\n".join(json.dumps(sample) for sample in samples(run, cfg, split, questions, entries))
        write_text(files[split], text + "\n")
        print(f"written: {files[split]} ({len(entries)} answers)")


def files_of(run: Run, options: DictConfig) -> dict[str, Path]:
    """{split: its file}. Raises DigrapError for an unknown split, a run without answers in text, and a file that is
    there already."""
    splits, out = run.bundle.splits, Path(options.out)
    if options.split == ALL:
        name = ENDINGS[options.format]
        files = {split: out / name.format(split=split, dataset=run.results.dataset) for split in splits}
    elif options.split in splits:
        files = {options.split: out}
    else:
        raise DigrapError(f"split={options.split}: {nearest(options.split, (*splits, ALL))}")
    if any(not isinstance(run.bundle.answers(split), list) for split in files):
        raise DigrapError(f"run={options.run}: its answers are class names; both formats are for question answering")
    if there := [file for file in files.values() if file.exists()]:
        raise DigrapError(f"out={options.out}: {there[0]} already exists; give another name, or move it away")
    return files


def questions_of(run: Run, cfg: DictConfig, splits: list[str]) -> Iterator[tuple[str, list[Question]]]:
    """(split, its questions in the bundle's order). Raises DigrapError where the dataset's files lack one of them."""
    from digrap.engine.build import build_data  # torch: only once the options are known to be good

    if "check_pictures" in cfg.dataset:
        OmegaConf.update(cfg, "dataset.check_pictures", False)
    data = build_data(cfg)
    for split in splits:
        loaded = data.splits[split].load()
        known = dict(zip(loaded.ids, loaded.records, strict=True))
        ids = run.bundle.ids(split)
        if missing := [name for name in ids if name not in known]:
            raise DigrapError(
                f"{run.bundle_file}: question {missing[0]} of split {split} is not in the dataset's files as they are "
                f"now ({len(missing)} of {len(ids)} are not): give the files that the run was tested on"
            )
        yield split, [known[name] for name in ids]


def vqa_entries(questions: list[Question], answers: list[str]) -> list[dict[str, Any]]:
    """The entries of a VQA result file. A question's id has its image_id beside it where other questions share it; one
    that still is not alone is called by its name."""
    ids = Counter(question.question_id for question in questions)
    pairs = Counter((question.question_id, question.image_id) for question in questions)
    entries = []
    for question, answer in zip(questions, answers, strict=True):
        if question.placed and question.name:  # VizWiz: the picture names the question
            entries.append({"image": question.name, "answer": answer})
        elif ids[question.question_id] == 1:
            entries.append({"question_id": _number(question.question_id), "answer": answer})
        elif pairs[question.question_id, question.image_id] == 1:
            name = {"question_id": _number(question.question_id), "image_id": _number(question.image_id)}
            entries.append({**name, "answer": answer})
        else:
            entries.append({"question_id": question.id, "answer": answer})
    return entries


def samples(
    run: Run, cfg: DictConfig, split: str, questions: list[Question], entries: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The samples of lmms-eval's log."""
    how = run.results.plain.get("decoding", {})
    search = {"max_new_tokens": how.get("max_new_tokens"), "num_beams": how.get("beams"), "do_sample": False}
    prompt, scorers = cfg.backbone.get("prompt") or "{question}", run.results.metrics(split)
    scores = [run.example_scores(split, scorer).tolist() for scorer in scorers]
    for place, (question, entry, *found) in enumerate(zip(questions, entries, *scores, strict=True)):
        names = {key: value for key, value in entry.items() if key != "answer"}
        doc = {"question_id": entry.get("image", entry.get("question_id")), **names, "question": question.question}
        context = prompt.replace("{question}", question.question)
        yield {
            "doc_id": place,
            "doc": {**doc, "answers": list(question.answers)},
            "target": question.target,
            "arguments": [context, search, place, run.results.dataset, split],
            "input": context,
            "resps": [[entry["answer"]]],
            "filtered_resps": [entry["answer"]],
            **dict(zip(scorers, found, strict=True)),
            "submission": entry,
        }


def _number(name: str | None) -> int | str | None:
    """An id as a whole number where that writes it alike."""
    return int(name) if name is not None and name.isdecimal() and str(int(name)) == name else name
