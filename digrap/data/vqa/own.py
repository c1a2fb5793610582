"""One's own questions: a JSON file a split, out-of-distribution sets named by the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from digrap.data.splits import KINDS, DataModule, named_ood
from digrap.data.vqa.module import Module
from digrap.data.vqa.official import TEN, Entry, answer_texts, check_text, entries, paired, read_json, unique
from digrap.data.vqa.record import Question
from digrap.errors import DigrapError
from digrap.problems import Problems
from digrap.scorers.entries import answer_keys

FORM = '[{"image": "a.jpg", "question": "…", "answers": ["…", …]}, …]'
RECORD_KINDS = {"near_ood": "near_ood", "far_ood": "far_ood"}


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
    images: str = "images",
    image_name: str = "{image_id}.jpg",
    strict: bool = False,
    check_pictures: bool = True,
    **_: Any,
) -> DataModule:
    """The splits of configs/dataset/vqa_json.yaml and, for each OOD name, one of root/test_<name>.json.

    A split is one `file`, a list of {image, question, answers or answer} with optional question_id, answer_type and
    question_type; or VQA's pair of files `questions` and `annotations`, whose pictures are called `image_name`, with
    the questions' keys in braces, unless a question has an `image`. Pictures lie in root/`images`. One answer counts as
    ten equal ones. Raises DigrapError for what is missing, damaged, or named twice.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DigrapError(
            f"dataset.root={root}: there is no such folder; expected in it: train.json, val.json, … ({FORM})"
        )
    table = {name: _checked(name, options) for name, options in splits.items()}
    for name, kind in named_ood(table, near_ood, far_ood):
        table[name] = {"file": f"test_{name}.json", "kind": kind}
    own = Own(root, table, images, image_name, strict, check_pictures)
    for name, options in table.items():
        for file in (options[key] for key in ("file", "questions", "annotations") if key in options):
            if not (root / file).is_file():
                mend = f"; '~dataset.splits.{name}' does without it" if options["kind"] == "id_test" else ""
                raise DigrapError(f"split {name}: {root / file} is missing ({FORM}){mend}")
    return DataModule(own.splits(), (), about=own.about)


class Own(Module):
    """The records of one's own files."""

    def __init__(self, root: Path, table: Mapping[str, Mapping[str, str]], images: str, image_name: str, *checks: bool):
        super().__init__(root, {name: options["kind"] for name, options in table.items()}, *checks)
        self.table, self.images, self.image_name = table, images.strip("/"), image_name

    def mend(self, name: str) -> str:
        return f"put them into {self.root / self.images}, or give dataset.images=FOLDER under dataset.root"

    def records(self, name: str, problems: Problems) -> list[Question]:
        options, result = self.table[name], []
        for place, entry in enumerate(self._entries(options, problems)):
            number = str(entry.get("question_id", place))
            where, answers = f"split {name}, question {number}", entry.get("answers", entry.get("answer"))
            answers = [answers] if isinstance(answers, (str, dict)) else answers
            if isinstance(answers, list) and len(answers) == 1:
                texts = answer_texts(answers * TEN, problems, where)
            else:
                texts = answer_texts(answers, problems, where)
            if not texts:
                continue
            check_text(entry["question"], problems, where)
            file = self._file(entry, where)
            result.append(
                Question(
                    id=number, official_id=number, image=f"{self.images}/{file}", question=str(entry["question"]),
                    answers=texts, answer_type=str(entry.get("answer_type") or ""),
                    question_type=str(entry.get("question_type") or ""), dataset=name,
                    kind=RECORD_KINDS.get(options["kind"], "id"), shift="", picture=f"own:{file}",
                    image_id=str(entry.get("image_id", file)),
                    answer_keys=None if len(answers) == 1 else answer_keys(answers),
                )
            )  # fmt: skip
        return unique(result, problems)

    def _entries(self, options: Mapping[str, str], problems: Problems) -> list[Entry]:
        mend = f"mend the file; it is a list: {FORM}"
        if "file" in options:
            path = self.root / options["file"]
            found = entries(read_json(path, mend), "questions", ("question",), problems, str(path))
            return [entry for entry in found if _has_answers(entry, problems, path)]
        halves = []
        for key, needed in (("questions", ("question_id", "question")), ("annotations", ("question_id", "answers"))):
            path = self.root / options[key]
            halves.append(entries(read_json(path, mend), key, needed, problems, str(path)))
        for entry in (entry for half in halves for entry in half):
            entry.setdefault("image_id", "")
        pairs = paired(*halves, problems, str(path))
        return [question | annotation | {"image_id": question["image_id"]} for question, annotation in pairs]

    def _file(self, entry: Entry, where: str) -> str:
        if entry.get("image"):
            return str(entry["image"])
        try:
            return self.image_name.format(**entry)
        except (KeyError, IndexError, ValueError) as error:
            raise DigrapError(
                f"{where}: no `image`, and dataset.image_name={self.image_name} cannot be filled in ({error!r})"
            ) from error


def _has_answers(entry: Entry, problems: Problems, path: Path) -> bool:
    if "answers" in entry or "answer" in entry:
        return True
    problems.add("entry that lacks a key", f"{path}: {entry.get('question')!r}: no answers")
    return False


def _checked(name: str, options: Mapping[str, str]) -> dict[str, str]:
    """A split's options. Raises DigrapError for others than file or questions and annotations, and kind."""
    forms = ({"file", "kind"}, {"questions", "annotations", "kind"})
    if set(options) not in forms or options["kind"] not in KINDS:
        raise DigrapError(
            f"dataset.splits.{name}={dict(options)}: give kind, one of {', '.join(KINDS)}, and file, or questions and "
            "annotations"
        )
    return dict(options)
