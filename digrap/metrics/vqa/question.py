"""The record of one question about a picture: readers return it, models train on it, scorers compare with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass, replace

from digrap.core.errors import DigrapError


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its human answers. None stands for whatever the question's file does not say.

    Identifiers, all of them strings:

    - `question_id`: the question's number in its file, or its place there (from 0) where the file has no numbers. Edits
      of one picture share it (IV-VQA, CV-VQA), and a rephrasing may have the number of another question.
    - `name`: a name that no other question of the set has, where `question_id` is not one, and by which predictions may
      call the question: "<question_id>/<image_id>" of an edit, "<rephrasing_of>/<question_id>" of a rephrasing, the
      picture's file in VizWiz.
    - `placed`: whether `question_id` is the question's place because its file has no ids.
    - `image_id`: the picture as the question's file calls it.
    - `image`: the picture's path under the root of its set.
    - `picture`: what the picture shows, whatever its file: "coco:<image id>", where an edit counts as its original,
      else "<dataset>:<file>". Two questions with one `picture` are about the same scene.
    - `origin`: the VQAv2 question that this one is, rephrases, or was edited from.
    - `rephrasing_of`: the `question_id` of the question that this one rephrases.

    The rest:

    - `question`: the text of the question, as it is in the file.
    - `answers`: the answers that scorers compare with: ten, except in a user's own data. `raw_answers` are the same
      answers as they were typed, where the file has both (OK-VQA).
    - `answer_keys`: one number per answer for whatever tells it from the others beside its text (see accuracy.py);
    None:
      every answer is told apart from the others.
    - `answer_type`, `question_type`: the groups by which scores are reported.
    - `dataset`: the name of its set; `kind`: id, near_ood or far_ood; `shift`: what a near set changes (vision,
      question, answer, multi-modal, adversarial), "" for the others.
    - `rotation`: degrees by which the stored picture has to be turned counterclockwise to stand upright.
    """

    question_id: str
    image_id: str | None
    answers: tuple[str, ...]
    _: KW_ONLY
    name: str | None = None
    placed: bool = False
    image: str = ""
    picture: str = ""
    origin: str | None = None
    rephrasing_of: str | None = None
    question: str = ""
    raw_answers: tuple[str, ...] = ()
    answer_keys: tuple[int, ...] | None = None
    answer_type: str | None = None
    question_type: str | None = None
    dataset: str = ""
    kind: str = "id"
    shift: str = ""
    rotation: int = 0

    @property
    def id(self) -> str:
        """`name`, else `question_id`: unique within its set."""
        return self.name or self.question_id

    @property
    def full_id(self) -> str:
        """`name`, else "<question_id>/<image_id>": tells edits apart also where their file gives them no names."""
        return self.name or f"{self.question_id}/{self.image_id}"

    @property
    def target(self) -> str:
        """The most frequent answer, of equally frequent ones the first: the text that a model is trained to give."""
        return Counter(self.answers).most_common(1)[0][0]

    def to_score(self, answer_ids: str = "add", raw: bool = False) -> Question:
        """Return the question with the answers and keys that a scorer is to use.

        `answer_ids`: "add" tells all answers apart, "file" tells them apart as the file does. `raw`: the answers as
        they were typed. Raises DigrapError where the file has no raw answers.
        """
        if raw and not self.raw_answers:
            raise DigrapError(
                f"{self.dataset} question {self.id} has no raw answers, which only OK-VQA's have: leave raw_answers out"
            )
        answers = self.raw_answers if raw else self.answers
        keys = self.answer_keys if answer_ids == "file" else None
        if answers is self.answers and keys is self.answer_keys:
            return self  # hundreds of thousands are scored at once: no copy without need
        return replace(self, answers=answers, answer_keys=keys)


def kind_of_questions(split_kind: str) -> str:
    """Return the kind of the questions in a split: near_ood and far_ood as they are, id for all others."""
    return split_kind if split_kind in ("near_ood", "far_ood") else "id"
