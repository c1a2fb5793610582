"""The authors' list files, as LAVIS reads them: {question_id, question, answer: [ten], image, dataset}.

They have no answer types and no question types.
"""

from __future__ import annotations

import re

from digrap.data.vqa.official import Folder, entries, unique
from digrap.data.vqa.record import Question
from digrap.errors import DigrapError

COCO_FILE = re.compile(r"COCO_\w+?_((\d{12})(?:_\d{12})?)\.jpg")


def read_list(folder: Folder, part: str) -> list[Question]:
    """The set's list file of a part, in its order, which the authors' sample follows."""
    facts = folder.facts
    if part not in facts.lists:
        has = ", ".join(facts.lists)
        raise DigrapError(f"dataset.source=lists: the authors have no list of {facts.name} {part} (of {has})")
    name = facts.lists[part]
    records, taken = [], {}
    for entry in entries(folder.load(name), "", ("question_id", "question", "answer", "image"), folder.problems, name):
        number, image = str(entry["question_id"]), str(entry["image"])
        file = image.rpartition("/")[2]
        found = COCO_FILE.fullmatch(file)
        edit = found[1] if found and "_" in found[1] else ""
        of = str(entry.get("rephrasing_of") or "")
        asked = taken.setdefault(number, [])  # what has this number: in VQA-Rephrasings not always one question
        if (entry["question"], image) not in asked:
            asked.append((entry["question"], image))
        nth = asked.index((entry["question"], image)) + 1
        known = {
            "id": f"{number}/{edit}" if edit else f"{of}/{number}" if of else f"{number}/{nth}" if nth > 1 else number,
            "image": f"{facts.images}/{image}",
            "picture": f"coco:{int(found[2])}" if found else f"{facts.name}:{file}",
            "image_id": edit or (str(int(found[2])) if found else file.rpartition(".")[0]),
            "rephrasing_of": of,
        } | ({"origin": of} if of else {})
        question = {"question_id": number, "question": entry["question"], "image_id": known["image_id"]}
        records.append(folder.record(question, {"answers": entry["answer"]}, **known))
    return unique(records, folder.problems)
