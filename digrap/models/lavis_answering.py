"""How LAVIS's models take pictures with questions and give answers: pixels by torchvision, tokens of BERT."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from digrap.models.backbone import Decoding
from digrap.models.vlm import without_special

# CLIP's, as LAVIS's processors of pictures normalise them.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
DROPPED = re.compile(r'[.!"()*#:;~]')  # by LAVIS's processor of questions
MAX_WORDS = 50  # of a question


@dataclass
class LavisAnswering:
    """See `digrap.models.backbone.Answering`; for the classes of `digrap.models.lavis_classes`.

    `make_tokenizer` makes the tokenizer, in every loading process once; `pixels` gives float (3, S, S) of a picture.
    An answer is generated, or where there are `answers` the likeliest of them, among the `candidates` whose first
    tokens are likeliest. A question has at most `max_tokens`. `check_answers` raises DigrapError for answers that the
    model cannot be trained to give.
    """

    make_tokenizer: Callable[[], Any]
    pixels: Callable[[Image.Image], Tensor]
    answers: tuple[str, ...] | None = None
    candidates: int = 128
    max_tokens: int = 35
    check_answers: Callable[[Sequence[str]], None] | None = None
    decoding: Decoding = Decoding()
    _tokenizer: Any = field(default=None, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, made when it is first used."""
        if self._tokenizer is None:
            self._tokenizer = self.make_tokenizer()
        return self._tokenizer

    def encode(
        self, images: Sequence[Image.Image], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """image float32 (N, 3, S, S), question and question_mask int64 (N, L), and where there are `answers` answer and
        answer_mask int64 (N, K); padding is on the right."""
        inputs = {"image": torch.stack([self.pixels(image.convert("RGB")) for image in images])}
        inputs |= self._tokens("question", [prepared(text) for text in questions], truncation=True)
        if answers is not None:
            if self.check_answers is not None:
                self.check_answers(answers)
            inputs |= self._tokens("answer", answers)
        return inputs

    def loss(self, module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """LAVIS's loss: cross-entropy with label smoothing 0.1, summed over an answer's tokens, mean over answers."""
        return module(**inputs)

    def generate(self, module: nn.Module, inputs: dict[str, Tensor]) -> list[str]:
        """One answer for each of the N encoded questions."""
        if self.answers is not None:
            return module.rank(inputs, list(self.answers), self.candidates)
        tokens = module.generate(inputs, self.decoding)
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _tokens(self, name: str, texts: Sequence[str], truncation: bool = False) -> dict[str, Tensor]:
        limit = {"truncation": True, "max_length": self.max_tokens} if truncation else {}
        plain = without_special(texts, self.tokenizer)
        found = self.tokenizer(plain, padding="longest", return_tensors="pt", **limit)
        return {name: found["input_ids"], f"{name}_mask": found["attention_mask"]}


def prepared(question: str) -> str:
    """The question as LAVIS's own processor writes it: lower case, without some punctuation, at most 50 words."""
    return " ".join(DROPPED.sub("", question.lower()).rstrip(" ").split(" ")[:MAX_WORDS])


def pixels_of(size: int) -> v2.Compose:
    """PIL image → float32 (3, size, size), as LAVIS evaluates: resized without regard to its shape, normalised."""
    return v2.Compose(
        [
            v2.Resize((size, size), v2.InterpolationMode.BICUBIC),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
