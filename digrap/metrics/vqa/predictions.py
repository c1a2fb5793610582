"""Readers of prediction files: VQA result files, and sample logs of lmms-eval."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import entries, is_id, read_bytes, read_json
from digrap.core.problems import Problems

FORMATS = ("vqa", "lmms_eval")
KEEP = ("last", "first")


@dataclass(frozen=True)
class Prediction:
    """An answer to a question; `image_id` where the file has one. Ids are strings."""

    question_id: str
    answer: str
    image_id: str | None = None


def read_predictions(path: Path | str, problems: Problems, format: str | None = None) -> list[Prediction]:
    """Read predictions in the order of their file; `format` is one of FORMATS (None: lmms_eval for .jsonl, else vqa).

    vqa: a list of {question_id, answer}, with image_id if wanted, or of VizWiz's {image, answer}. lmms_eval: lines as
    `--log_samples` writes them, seen in lmms-eval's evaluator.py@03cbb1f (with `doc`) and loggers/
    evaluation_tracker.py@0716c69 and @4eadb30 (`doc` left out, `resps` too where it says the same). The answer is
    `filtered_resps`, else `resps`, else `answer`. The question id stands in `doc`, on the line itself or in a metric's
    {question_id, …}; else `doc_id`, the question's place in the data set, is taken for it and counted.
    Entries without an id or an answer in text are counted and left out. Raises DigrapError for a file that cannot be
    read as such.
    """
    format = format or ("lmms_eval" if str(path).endswith(".jsonl") else "vqa")
    if format not in FORMATS:
        raise DigrapError(f"format={format}: choose one of {', '.join(FORMATS)}")
    read = _read_vqa if format == "vqa" else _read_lmms_eval
    found = [prediction for prediction in read(path, problems) if prediction]
    if not found:
        raise DigrapError(f"{path} has no predictions that can be read as format={format} ({problems.said()})")
    return found


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
            problems.add(f"duplicate {what} (the {keep} is kept)", f"question {prediction.question_id}")
            if keep == "first":
                continue
        result[prediction.question_id] = prediction.answer
    return result


def _read_vqa(path: Path | str, problems: Problems) -> Iterator[Prediction | None]:
    found = read_json(path, "predictions")
    listed = found.get("predictions") if isinstance(found, dict) else found
    for record in listed if isinstance(listed, list) else ():
        if isinstance(record, dict) and "image" in record:  # VizWiz's form
            record.setdefault("question_id", record["image"])
    for record in entries(found, "predictions", path, problems, ("question_id", "answer")):
        yield _prediction(record["question_id"], record["answer"], record, problems)


def _read_lmms_eval(path: Path | str, problems: Problems) -> Iterator[Prediction | None]:
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
            problems.add("line without filtered_resps, resps or answer (left out)", where)
            continue
        if len(responses) > 1:
            problems.add("several responses to a question (the first is kept)", where)
        if (name := _lmms_question(record)) is None:
            if "doc_id" not in record:
                problems.add("line without question_id or doc_id (left out)", where)
                continue
            name = record["doc_id"]
            problems.add("no question_id: doc_id taken for it", f"{where}: {name}")
        doc = record.get("doc")
        yield _prediction(name, responses[0], doc if _image(doc) else record, problems)


def _responses(record: Any) -> list:
    """Return a sample's responses (strings or lists), filtered ones first; of a plain line its answer."""
    if not isinstance(record, dict):
        return []
    for field in ("filtered_resps", "resps", "answer"):
        value = record.get(field)
        while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:
            return [item[0] if isinstance(item, list) and item else item for item in value]
    return []


def _lmms_question(record: dict) -> Any:
    """Return the question id in `doc`, on the line itself, or in a metric such as VQAv2's `submission`; else None."""
    for place in (record.get("doc"), record, *record.values()):
        if isinstance(place, dict) and place.get("question_id") is not None:
            return place["question_id"]
    return None


def _prediction(name: Any, answer: Any, source: Any, problems: Problems) -> Prediction | None:
    """Return a prediction; None, and a problem counted, for an id that names no question or an answer without text."""
    if not is_id(name) or not isinstance(answer, str):
        return problems.add("prediction that is no text (left out)", f"question {name!r:.40}: {answer!r:.80}")
    return Prediction(str(name), answer, _image(source))


def _image(record: Any) -> str | None:
    value = record.get("image_id") if isinstance(record, dict) else None
    return None if value is None else str(value)
