"""The tiny vision-language models' processor: words of minivqa as tokens, pictures as normalised tensors.

transformers' own PaliGemmaProcessor adds 1,152 tokens for places and segments to a vocabulary of two hundred words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torchvision.transforms.v2 import functional as transforms
from transformers import BatchFeature, PreTrainedTokenizerFast

from digrap.core.errors import DigrapError
from digrap.data.mini.vqa.words import WORDS

PAD, BOS, EOS, UNKNOWN, IMAGE, NEWLINE = "<pad>", "<bos>", "<eos>", "<unk>", "<image>", "\n"
SPECIAL = (PAD, BOS, EOS, UNKNOWN, IMAGE, NEWLINE)  # their ids are 0, 1, …
VOCABULARY = (*SPECIAL, *WORDS)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token a word or punctuation mark, in lower case; those that `WORDS` lacks are <unk>."""
    plain = Tokenizer(models.WordLevel({word: place for place, word in enumerate(VOCABULARY)}, unk_token=UNKNOWN))
    plain.normalizer = normalizers.Lowercase()
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\w'-]+|[^\w\s]"), "removed", invert=True)
    plain.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    names = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNKNOWN}
    further = {"extra_special_tokens": [IMAGE, NEWLINE]}
    return PreTrainedTokenizerFast(tokenizer_object=plain, padding_side="left", **names, **further)


class TinyProcessor:
    """Called as transformers' processors are. <image> in a text becomes `tokens` such tokens, a picture float32
    (3, size, size) in [-1, 1]."""

    def __init__(self, size: int, tokens: int):
        self.size, self.image_tokens, self.tokenizer = size, tokens, make_tokenizer()

    def __call__(
        self, images: Sequence[Image.Image], text: Sequence[str], padding: bool = True, return_tensors: str = "pt"
    ) -> BatchFeature:
        """input_ids and attention_mask int64 (N, L), pixel_values float32 (N, 3, size, size)."""
        texts = [one.replace(IMAGE, IMAGE * self.image_tokens) for one in text]
        tokens = self.tokenizer(
            texts, padding=padding, return_tensors=return_tensors, add_special_tokens=False,
            return_token_type_ids=False,
        )  # fmt: skip
        return BatchFeature({**tokens, "pixel_values": torch.stack([pixels(image, self.size) for image in images])})


def pixels(image: Image.Image, size: int) -> torch.Tensor:
    """A picture as float32 (3, size, size) in [-1, 1]."""
    plain, wanted = image.convert("RGB"), (size, size)
    plain = plain if plain.size == wanted else plain.resize(wanted, Image.Resampling.BILINEAR)
    return transforms.pil_to_tensor(plain).float() / 127.5 - 1


@cache
def _known() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def check_known(answers: Sequence[str]) -> None:
    """Raise DigrapError for an answer with words that the vocabulary lacks: a model would learn to say <unk>."""
    found = _known()(list(answers), add_special_tokens=False)
    for answer, encoding in zip(answers, found.encodings, strict=True):
        unknown = [k for k, token in enumerate(encoding.ids) if token == _known().unk_token_id]
        if not unknown:
            continue
        words = [answer[slice(*encoding.offsets[k])] for k in unknown]
        raise DigrapError(
            f"answer {answer!r}: the tiny models know {len(WORDS)} words (digrap/data/mini/vqa/words.py), but not "
            f"{', '.join(words)}; train them on other answers"
        )
