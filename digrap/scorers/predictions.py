"""Reading answers that a model gave: VQA result files, and sample logs of lmms-eval."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.errors import DigrapError
from digrap.problems import Problems
from digrap.reading import read_bytes, read_json, records

FORMATS = ("vqa", "lmms_eval")


@dataclass(frozen=True)
class Prediction:
    """An answer to a question; `image_id` where the file has one. Ids are strings."""

    question_id: str
    answer: str
    image_id: str | None = None


def read_predictions(path: Path | str, problems: Problems, format: str | None = None) -> list[Prediction]:
    """Predictions in the order of a file; `format` is one of FORMATS (None: lmms_eval for .jsonl, else vqa).

    vqa: a list of {question_id, answer}, with image_id if wanted. lmms_eval: lines as `--log_samples` writes them, seen
    in lmms-eval's evaluator.py@03cbb1f (with `doc`) and loggers/evaluation_tracker.py@0716c69 and @4eadb30 (`doc` left
    out, `resps` too where it says the same). The answer is `filtered_resps`, else `resps`. The question id stands in
    `doc`, on the line itself or in a metric's {question_id, …}; else `doc_id`, the question's place in the data set, is
    taken for it and counted.
    Raises DigrapError for a file that cannot be read as such and for an answer that is not a string.
    """
    format = format or ("lmms_eval" if str(path).endswith(".jsonl") else "vqa")
    if format not in FORMATS:
        raise DigrapError(f"format={format}: choose one of {', '.join(FORMATS)}")
    read = _read_vqa if format == "vqa" else _read_lmms_eval
    found = list(read(path, problems))
    if not found:
        raise DigrapError(f"{path} has no predictions that can be read as format={format}: {problems.summary()}")
    return found


def by_id(predictions: Iterable[Prediction], problems: Problems, what: str = "prediction") -> dict[str, str]:
    """{question id: answer}. Of several with one id the last is kept, as in the official code, and it is counted."""
    result: dict[str, str] = {}
    for prediction in predictions:
        if prediction.question_id in result:
            problems.add(f"duplicate {what} (the last is kept)", f"question {prediction.question_id}")
        result[prediction.question_id] = prediction.answer
    return result


def _read_vqa(path: Path | str, problems: Problems) -> Iterator[Prediction]:
    for place, record in enumerate(records(read_json(path, "predictions"), "predictions", path)):
        where = f"prediction {place} (from 0)"
        if "question_id" not in record or "answer" not in record:
            problems.add("prediction without question_id or answer (left out)", f"{where}: {record!r:.80}")
            continue
        name = _name(record["question_id"], f"{path}: {where}")
        yield Prediction(name, _answer(record["answer"], f"{path}: question {name}"), _image(record))


def _read_lmms_eval(path: Path | str, problems: Problems) -> Iterator[Prediction]:
    for number, line in enumerate(read_bytes(path, "lmms-eval samples").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            record = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            problems.add("line that is not UTF-8 (left out)", where)
            continue
        except (ValueError, RecursionError):
            problems.add("line that is not JSON, or cut off (left out)", where)
            continue
        responses = _responses(record)
        if not responses:
            problems.add("line without filtered_resps or resps (left out)", where)
            continue
        if len(responses) > 1:
            problems.add("several responses to a question (the first is kept)", where)
        if (name := _lmms_question(record)) is None:
            if "doc_id" not in record:
                problems.add("line without question_id or doc_id (left out)", where)
                continue
            name = record["doc_id"]
            problems.add("no question_id: doc_id taken for it", f"{where}: {name}")
        name = _name(name, f"{path}: {where}")
        doc = record.get("doc")
        yield Prediction(name, _answer(responses[0], f"{path}: question {name}"), _image(doc) or _image(record))


def _responses(record: Any) -> list:
    """The responses of a sample: filtered ones first, which stand as strings or as lists of strings."""
    if not isinstance(record, dict):
        return []
    for field in ("filtered_resps", "resps"):
        value = record.get(field)
        while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:
            return [item[0] if isinstance(item, list) and item else item for item in value]
    return []


def _lmms_question(record: dict) -> Any:
    """The question id in `doc`, on the line itself, or in a metric such as VQAv2's `submission`."""
    for place in (record.get("doc"), record, *record.values()):
        if isinstance(place, dict) and place.get("question_id") is not None:
            return place["question_id"]
    return None


def _answer(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DigrapError(f"{where} has the answer {value!r:.80}, not a string: write answers as strings")
    return value


def _name(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise DigrapError(f"{where} has the question_id {value!r:.80}: give a number or a string")
    return str(value)


def _image(record: Any) -> str | None:
    value = record.get("image_id") if isinstance(record, dict) else None
    return None if value is None else str(value)
