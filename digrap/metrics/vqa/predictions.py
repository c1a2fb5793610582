"""Readers of prediction files: VQA result files, and sample logs of lmms-eval."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import as_id, entries, read_bytes
from digrap.core.json_lines import BadLine, named_lines, read_json_or_lines, read_lines
from digrap.core.problems import Problems
from digrap.metrics.vqa.answers import as_text
from digrap.metrics.vqa.ids import plain, without_ending

FORMATS = ("vqa", "lmms_eval")
KEEP = ("last", "first")
RESPONSES = ("filtered_resps", "resps")
LOGS = "logs"


@dataclass(frozen=True)
class Prediction:
    """An answer to a question; `image_id` where the file has one. Ids are strings.

    `placed`: the id is lmms-eval's doc_id, the question's place in the data set. `file`: where the prediction stands.
    """

    question_id: str
    answer: str
    image_id: str | None = None
    placed: bool = False
    file: str = field(default="", compare=False)

    def where(self, name: str | None = None) -> str:
        """Return "<file>: question <id>" for messages, with `name` in place of the id if given."""
        return f"{self.file}: question {name or self.question_id}".removeprefix(": ")


def read_predictions(path: Path | str, problems: Problems, format: str | None = None) -> list[Prediction]:
    """Read predictions in the order of their file; `format` is one of FORMATS (None: what the file's content shows).

    vqa: a list of {question_id, answer}, with image_id if wanted, or of {image, answer} as of VizWiz. lmms_eval: lines
    as `--log_samples` writes them, seen in lmms-eval's evaluator.py@03cbb1f (with `doc`) and loggers/
    evaluation_tracker.py@0716c69 and @4eadb30 (`doc` left out, `resps` too where it says the same), or one object with
    the list of them, {"logs": […]}. The answer is `filtered_resps`, else `resps`, else `answer`. The question id stands
    in `doc`, on the line itself or in a metric's {question_id, …} or, for OK-VQA and VizWiz, {"image": "<question
    id>.jpg", …}; else `doc_id`, the question's place in the data set, is taken and counted.
    Entries without an id or an answer in text are counted and left out. Raises DigrapError for a file that cannot be
    read as such, and for a sample with two different question ids.
    """
    if format is not None and format not in FORMATS:
        raise DigrapError(f"format={format}: choose one of {', '.join(FORMATS)}")
    by_line = named_lines(path) if format is None else format == "lmms_eval"
    value = _whole(path) if by_line else read_json_or_lines(path, "predictions")
    samples = read_lines(path, "lmms-eval samples") if value is None else _samples(value, path, format)
    found = _from_samples(samples, path, problems) if samples else _from_entries(value, path, problems)
    result = [prediction for prediction in found if prediction]
    if not result:
        read_as = "lmms_eval" if samples else "vqa"
        raise DigrapError(f"{path} has no predictions that can be read as format={read_as} ({problems.one_line()})")
    return result


def by_id(
    predictions: Iterable[Prediction], problems: Problems, what: str = "prediction", keep: str = "last"
) -> dict[str, str]:
    """Return {question id: answer}; of several with one id the last counts, as in the official code, or the first.

    The first is what the authors of FRAMES-VQA keep before they call that code. Each duplicate is counted in `problems`
    under the name `what`. Raises DigrapError for an unknown `keep`.
    """
    if keep not in KEEP:
        raise DigrapError(f"duplicates={keep}: choose one of {', '.join(KEEP)}")
    result: dict[str, str] = {}
    for prediction in predictions:
        if prediction.question_id in result:
            problems.add(f"duplicate {what} (the {keep} is kept)", prediction.where())
            if keep == "first":
                continue
        result[prediction.question_id] = prediction.answer
    return result


def _whole(path: Path | str) -> Any:
    """Return the value of a file that is one JSON list, or one object with `logs`; None for a file of lines."""
    try:
        value = json.loads(read_bytes(path, "lmms-eval samples").decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) or isinstance(value, dict) and LOGS in value else None


def _samples(value: Any, path: Path | str, format: str | None) -> list[tuple[str, Any]]:
    """Return (place, sample) of a JSON value that holds samples of lmms-eval; nothing for one of predictions."""
    if format == "vqa":
        return []
    listed = value.get(LOGS) if isinstance(value, dict) else value
    if not isinstance(listed, list):
        return []
    logged = any(not {*RESPONSES}.isdisjoint(entry) for entry in listed if isinstance(entry, dict))
    if not (logged or isinstance(value, dict) or format == "lmms_eval"):
        return []
    return [(f"{path}: sample number {place} (from 0)", sample) for place, sample in enumerate(listed)]


def _from_entries(value: Any, path: Path | str, problems: Problems) -> Iterator[Prediction | None]:
    listed = value.get("predictions") if isinstance(value, dict) else value
    for record in listed if isinstance(listed, list) else ():
        if isinstance(record, dict) and "image" in record:  # VizWiz's form
            record.setdefault("question_id", record["image"])
    for record in entries(value, "predictions", path, problems, ("question_id", "answer")):
        yield _prediction(record["question_id"], record["answer"], record, path, problems)


def _from_samples(
    samples: Iterable[tuple[str, Any]], path: Path | str, problems: Problems
) -> Iterator[Prediction | None]:
    for where, record in samples:
        if isinstance(record, BadLine):
            problems.add(record, where)
            continue
        responses = _responses(record)
        if not responses:
            problems.add("line without filtered_resps, resps or answer (left out)", where)
            continue
        if len(responses) > 1:
            problems.add("several responses to a question (the first is kept)", where)
        name = _lmms_question(record, where)
        if placed := name is None:
            if "doc_id" not in record:
                problems.add("line without question_id or doc_id (left out)", where)
                continue
            name = record["doc_id"]
            problems.add("no question_id: doc_id taken for it", f"{where}: {name}")
        doc = record.get("doc")
        yield _prediction(name, responses[0], doc if _image(doc) else record, path, problems, placed)


def _responses(record: Any) -> list:
    """Return a sample's responses (strings or lists), filtered ones first; of a plain line its answer."""
    if not isinstance(record, dict):
        return []
    for name in (*RESPONSES, "answer"):
        value = record.get(name)
        while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:
            return [item[0] if isinstance(item, list) and item else item for item in value]
    return []


def _lmms_question(record: dict, where: str) -> Any:
    """Return the question id in `doc`, on the line itself, or in a metric such as VQAv2's `submission`; else None.

    Raises DigrapError where two of them disagree.
    """
    found = {}
    for key, place in (("doc", record.get("doc")), ("the sample", record), *record.items()):
        if isinstance(place, dict) and (name := _named(place, key)) is not None:
            found.setdefault(key, name)
    first, *others = found.items() or [(None, None)]
    for key, name in others:
        ids = as_id(first[1]), as_id(name)
        if None not in ids and not _one_id(*map(str, ids)):
            raise DigrapError(
                f"{where} has two question ids: {first[1]!r} in {first[0]} and {name!r} in {key}; a sample answers one "
                "question: log it again, or take out the wrong one"
            )
    return first[1]


def _named(place: dict, key: str) -> Any:
    """Return the question id of a part of a sample; `doc` has a picture as its `image`, a metric "<id>.jpg"."""
    if place.get("question_id") is not None:
        return place["question_id"]
    return place["image"] if key != "doc" and isinstance(place.get("image"), str) and "answer" in place else None


def _one_id(one: str, other: str) -> bool:
    return bool({plain(one), plain(without_ending(one))} & {plain(other), plain(without_ending(other))})


def _prediction(
    name: Any, answer: Any, source: Any, path: Path | str, problems: Problems, placed: bool = False
) -> Prediction | None:
    """Return a prediction; None, and a problem counted, for an id that names no question or an answer without text."""
    number = as_id(name)
    if number is None or not isinstance(answer, str):
        where = f"{path}: question {name!r:.40}: {answer!r:.80}"
        return problems.add("prediction that is not text (left out)", where)
    return Prediction(str(number), answer, _image(source), placed, str(path))


def _image(record: Any) -> str | None:
    return as_text(record.get("image_id")) if isinstance(record, dict) else None
