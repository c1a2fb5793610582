"""The dataset vqa_json: a user's own questions, a JSON file a split, with out-of-distribution sets of any name."""

from __future__ import annotations

import posixpath
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import by_place, entries
from digrap.core.problems import Problems
from digrap.data.splits import KINDS, DataModule, named_ood
from digrap.data.vqa.official_files import TEN, Record, make_record, paired, read_json, unique
from digrap.data.vqa.question_splits import QuestionSplits
from digrap.metrics.vqa.annotations import list_key
from digrap.metrics.vqa.answers import as_text
from digrap.metrics.vqa.question import Question, kind_of_questions

FIX = "fix it or write it again"
FORM = '[{"image": "a.jpg", "question": "…", "answers": ["…", …]}, …]'


def build(
    root: str | Path,
    splits: Mapping[str, Mapping[str, str]],
    near_ood: Iterable[str] = (),
    far_ood: Iterable[str] = (),
    images: str = "images",
    image_name: str = "{image_id}.jpg",
    strict: bool = False,
    check_pictures: bool = True,
) -> DataModule:
    """Return the splits of configs/dataset/vqa_json.yaml and, for each OOD name, one of root/test_<name>.json.

    A split is one `file`, a list (or lines) of {image, question, answers or answer} with optional question_id,
    answer_type and question_type; or VQA's pair of files `questions` and `annotations`, whose pictures are called
    `image_name`, with the questions' keys in braces, unless a question has an `image`. Pictures lie in root/`images`.
    One answer counts as ten equal ones. Raises DigrapError for options that do not fit and for a file that is missing
    or named twice.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DigrapError(
            f"dataset.root={root}: there is no such folder; expected in it: train.json, val.json, … ({FORM})"
        )
    table = {name: _checked(name, options) for name, options in splits.items()}
    for name, kind in named_ood(table, near_ood, far_ood):
        table[name] = {"file": f"test_{name}.json", "kind": kind}
    own = JsonQuestions(root, table, images, image_name, strict, check_pictures)
    for name, options in table.items():
        for file in (options[key] for key in ("file", "questions", "annotations") if key in options):
            if not (root / file).is_file():
                fix = f"; '~dataset.splits.{name}' leaves the split out" if options["kind"] == "id_test" else ""
                raise DigrapError(f"split {name}: {root / file} is missing ({FORM}){fix}")
    return DataModule(own.splits(), (), about=own.about)


class JsonQuestions(QuestionSplits):
    """The splits of a user's own files; `table` maps split names to their options."""

    dataset = "vqa_json"

    def __init__(self, root: Path, table: Mapping[str, Mapping[str, str]], images: str, image_name: str, *checks: bool):
        super().__init__(root, {name: options["kind"] for name, options in table.items()}, *checks)
        if not isinstance(images, str) or not isinstance(image_name, str):
            raise DigrapError(f"dataset.images={images}, dataset.image_name={image_name}: give text")
        self.table, self.images, self.image_name = table, images.strip("/"), image_name

    def fix(self, name: str) -> str:
        return f"put them into {self.root / self.images}, or give dataset.images=FOLDER under dataset.root"

    def records(self, name: str, problems: Problems) -> list[Question]:
        options = self.table[name]
        found = self._file(options, problems) if "file" in options else self._pair(options, problems)
        known = {"dataset": name, "kind": kind_of_questions(options["kind"])}
        return unique((self._record(entry, problems, **known) for entry in found), problems)

    def _file(self, options: Mapping[str, str], problems: Problems) -> list[Record]:
        """Return the entries of one file; an entry without question_id gets its place in the file."""
        path = self.root / options["file"]
        data = read_json(path, FIX)
        key = list_key(data, "questions")
        listed = by_place(data.get(key) if isinstance(data, dict) else data)
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict) and "answer" in entry:
                entry.setdefault("answers", entry["answer"])
        return entries(data, key, path, problems, ("question_id", "question", "answers"))

    def _pair(self, options: Mapping[str, str], problems: Problems) -> list[Record]:
        """Return the entries of VQA's pair of files, each question joined with its annotation."""
        halves = []
        for key, needed in (("questions", ("question_id", "question")), ("annotations", ("question_id", "answers"))):
            path = self.root / options[key]
            halves.append(entries(read_json(path, FIX), key, path, problems, needed))
        for entry in (entry for half in halves for entry in half):
            entry.setdefault("image_id", "")
        pairs = paired(*halves, problems, self.root / options["questions"], self.root / options["annotations"])
        return [question | annotation | {"image_id": question["image_id"]} for question, annotation in pairs]

    def _record(self, entry: Record, problems: Problems, **known: str) -> Question | None:
        title, answers = f"split {known['dataset']}, question", entry["answers"]
        if not isinstance(answers, list) and answers is not None:
            answers = [answers]
        if isinstance(answers, list) and len(answers) == 1:  # scorers leave one answer out: a single one counts as ten
            known["answer_keys"], answers = None, answers * TEN
        picture = entry.get("image")
        try:
            name = as_text(picture) if picture else PictureName().vformat(self.image_name, (), entry)
            file = posixpath.normpath(name)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            where = f"{title} {entry['question_id']}: `image` is {picture!r:.80}; dataset.image_name={self.image_name}"
            return problems.add("question that names no picture (left out)", f"{where}: {error!r}")
        known |= {"image": f"{self.images}/{file}", "picture": f"own:{file}"}
        question = entry | {"image_id": as_text(entry.get("image_id") or file) or file}
        return make_record(question, entry | {"answers": answers}, problems, title, **known)


class PictureName(string.Formatter):
    """Format of a picture's name, in which a number may be text ("0012" fits {image_id:012d}), and 5.0 is 5."""

    def format_field(self, value: Any, spec: str) -> str:
        text = as_text(value)
        if text is not None and spec.endswith("d") and text.isascii() and text.isdigit():
            value = int(text)
        return super().format_field(value if spec or text is None else text, spec)


def _checked(name: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return a split's options. Raises DigrapError unless they are kind and file, or a pair of files."""
    forms = ({"file", "kind"}, {"questions", "annotations", "kind"})
    if set(options) not in forms or options["kind"] not in KINDS:
        raise DigrapError(
            f"dataset.splits.{name}={dict(options)}: give kind, one of {', '.join(KINDS)}, and file, or questions and "
            "annotations"
        )
    return dict(options)
