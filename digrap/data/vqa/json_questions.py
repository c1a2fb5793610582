"""One's own questions: a JSON file a split, out-of-distribution sets named by the user."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from digrap.core.errors import DigrapError
from digrap.core.json_files import by_place, entries
from digrap.core.problems import Problems
from digrap.data.splits import KINDS, DataModule, named_ood
from digrap.data.vqa.formats import TEN, Entry, make_record, paired, read_json, unique
from digrap.data.vqa.question_splits import QuestionSplits
from digrap.data.vqa.record import KINDS as RECORD_KINDS
from digrap.data.vqa.record import Question

MEND = "mend it or write it again"
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


class Own(QuestionSplits):
    """The records of one's own files."""

    dataset = "vqa_json"

    def __init__(self, root: Path, table: Mapping[str, Mapping[str, str]], images: str, image_name: str, *checks: bool):
        super().__init__(root, {name: options["kind"] for name, options in table.items()}, *checks)
        if not isinstance(images, str) or not isinstance(image_name, str):
            raise DigrapError(f"dataset.images={images}, dataset.image_name={image_name}: give text")
        self.table, self.images, self.image_name = table, images.strip("/"), image_name

    def mend(self, name: str) -> str:
        return f"put them into {self.root / self.images}, or give dataset.images=FOLDER under dataset.root"

    def records(self, name: str, problems: Problems) -> list[Question]:
        options = self.table[name]
        found = self._file(options, problems) if "file" in options else self._pair(options, problems)
        known = {"dataset": name, "kind": RECORD_KINDS.get(options["kind"], "id"), "shift": ""}
        return unique((self._record(entry, problems, **known) for entry in found), problems)

    def _file(self, options: Mapping[str, str], problems: Problems) -> list[Entry]:
        """The entries of one file; one without question_id has its place in the file for it."""
        path = self.root / options["file"]
        data = by_place(read_json(path, MEND))
        for entry in data if isinstance(data, list) else ():
            if isinstance(entry, dict) and "answer" in entry:
                entry.setdefault("answers", entry["answer"])
        return entries(data, "questions", path, problems, ("question_id", "question", "answers"))

    def _pair(self, options: Mapping[str, str], problems: Problems) -> list[Entry]:
        halves = []
        for key, needed in (("questions", ("question_id", "question")), ("annotations", ("question_id", "answers"))):
            path = self.root / options[key]
            halves.append(entries(read_json(path, MEND), key, path, problems, needed))
        for entry in (entry for half in halves for entry in half):
            entry.setdefault("image_id", "")
        pairs = paired(*halves, problems, str(path))
        return [question | annotation | {"image_id": question["image_id"]} for question, annotation in pairs]

    def _record(self, entry: Entry, problems: Problems, **known: str) -> Question | None:
        title, answers = f"split {known['dataset']}, question", entry["answers"]
        if not isinstance(answers, list) and answers is not None:
            answers = [answers]
        if isinstance(answers, list) and len(answers) == 1:  # all that there is to say: ten would say it
            known["answer_keys"], answers = None, answers * TEN
        try:
            file = posixpath.normpath(str(entry.get("image") or self.image_name.format(**entry)))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            where = f"{title} {entry['question_id']}: no `image`; dataset.image_name={self.image_name}: {error!r}"
            return problems.add("question that names no picture (left out)", where)
        known |= {"image": f"{self.images}/{file}", "picture": f"own:{file}"}
        asked = entry | {"image_id": entry.get("image_id") or file}
        return make_record(asked, entry | {"answers": answers}, problems, title, **known)


def _checked(name: str, options: Mapping[str, str]) -> dict[str, str]:
    """A split's options. Raises DigrapError for others than file or questions and annotations, and kind."""
    forms = ({"file", "kind"}, {"questions", "annotations", "kind"})
    if set(options) not in forms or options["kind"] not in KINDS:
        raise DigrapError(
            f"dataset.splits.{name}={dict(options)}: give kind, one of {', '.join(KINDS)}, and file, or questions and "
            "annotations"
        )
    return dict(options)
