"""The authors' list files, as LAVIS reads them: {question_id, question, answer: [ten], image, dataset}.

They have no answer types and no question types.
"""

from __future__ import annotations

import re
from collections import defaultdict

from digrap.core.errors import DigrapError
from digrap.data.vqa.formats import Folder, NotThere, unique
from digrap.data.vqa.record import Question
from digrap.data.vqa.vqav2 import REPHRASINGS

COCO_FILE = re.compile(r"COCO_\w+?_((\d{12})(?:_\d{12})?)\.jpg")


def read_list(folder: Folder, part: str) -> list[Question]:
    """The set's list file of a part, in its order, which the authors' sample follows."""
    facts = folder.facts
    if part not in facts.lists:
        has = ", ".join(facts.lists)
        raise DigrapError(f"dataset.source=lists: the authors have no list of {facts.name} {part} (of {has})")
    name = facts.lists[part]
    rephrasings = rephrased(folder) if facts.name == "vqa_rephrasings" else {}
    records, asked = [], defaultdict(list)
    for entry in folder.entries(name, name, ("question_id", "question", "answer", "image")):
        number, image = str(entry["question_id"]), str(entry["image"])
        file = image.rpartition("/")[2]
        found = COCO_FILE.fullmatch(file)
        edit = found[1] if found and "_" in found[1] else ""
        of = rephrasings.get((number, str(entry["question"])), "")
        own_name = f"{number}/{edit}" if edit else f"{of}/{number}" if of else number
        this = (entry["question"], image)  # in VQA-Rephrasings not the only one of its number
        if this not in asked[own_name]:
            asked[own_name].append(this)
        nth = asked[own_name].index(this)
        if nth and facts.name == "vqa_rephrasings":  # elsewhere a number that is there twice is a fault
            own_name += f"/{nth + 1}"
        known = {
            "id": own_name,
            "image": f"{facts.images}/{image}",
            "picture": f"coco:{int(found[2])}" if found else f"{facts.name}:{file}",
            "alias": file if facts.by_file else "",
            "rephrasing_of": of,
        } | ({"origin": of or number} if rephrasings else {})
        image_id = edit or (str(int(found[2])) if found else file if facts.by_file else file.rpartition(".")[0])
        question = {"question_id": number, "question": entry["question"], "image_id": image_id}
        records.append(folder.record(question, {"answers": entry["answer"]}, **known))
    return unique(records, folder.problems)


def rephrased(folder: Folder) -> dict[tuple[str, str], str]:
    """(number, question) → the question that it rephrases, "" for originals, from the official question file: the
    authors' list does not say. Empty, and a problem counted, where that file is not there."""
    try:
        found = folder.entries(REPHRASINGS, "questions", ("question_id", "question"))
    except NotThere as error:
        folder.problems.add("not known which questions are rephrasings: leaks by id are not seen", str(error))
        return {}
    return {(str(q["question_id"]), str(q["question"])): str(q.get("rephrasing_of") or "") for q in found}
