"""One question about a picture, whatever file it came from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from digrap.core.errors import DigrapError
from digrap.metrics.vqa.annotations import Entry

KINDS = {"near_ood": "near_ood", "far_ood": "far_ood"}  # of a split → of its records; all others are id


@dataclass(frozen=True, slots=True)
class Question:
    """A record of any of the VQA sets.

    `id` is unique within its set: official_id, or official_id/image_id where several edited pictures share one
    (IV-VQA, CV-VQA), or rephrasing_of/official_id (VQA-Rephrasings). `image` is a path under the set's root.
    `answers` are those the scorers compare with (ten, except in one's own data); `raw_answers` as they were typed,
    where the file has both (OK-VQA). `answer_type` and `question_type` are "" where the file has none.

    `kind` is id, near_ood or far_ood; `shift` what a near set changes: vision, question,
    answer, multi-modal or adversarial; "" for the others.

    `picture` names what is seen, whatever the file: coco:<image id>, an edit counts as its original; else
    <dataset>:<file>. `origin` is the VQAv2 question id that this one is, rephrases or was edited from; "" for none.
    `answer_keys` number what tells answers apart beside their text; None: each has an answer_id of its own.
    `alias` is another name by which predictions may call it. `rotation` is by how many degrees the picture has to be
    turned counterclockwise to stand upright.
    """

    id: str
    official_id: str
    image: str
    question: str
    answers: tuple[str, ...]
    answer_type: str
    question_type: str
    dataset: str
    kind: str
    shift: str
    picture: str
    image_id: str
    origin: str = ""
    rephrasing_of: str = ""
    raw_answers: tuple[str, ...] = ()
    answer_keys: tuple[int, ...] | None = None
    alias: str = ""
    rotation: int = 0

    @property
    def target(self) -> str:
        """The most frequent answer, of equally frequent ones the first: what training aims at."""
        return Counter(self.answers).most_common(1)[0][0]

    def entry(self, answer_ids: str = "add", raw: bool = False) -> Entry:
        """What is scored. `answer_ids`: "add" tells all answers apart, "file" as the file does; `raw`: the answers as
        they were typed. Raises DigrapError where the file has no such."""
        if raw and not self.raw_answers:
            raise DigrapError(
                f"{self.dataset} question {self.id} has no raw answers; OK-VQA's have: leave raw_answers out"
            )
        own_name = self.id if self.id != self.official_id else self.alias or None
        return Entry(
            question_id=self.official_id, image_id=self.image_id, answers=self.raw_answers if raw else self.answers,
            keys=self.answer_keys if answer_ids == "file" else None, answer_type=self.answer_type or None,
            question_type=self.question_type or None, rephrasing_of=self.rephrasing_of or None, name=own_name,
        )  # fmt: skip
