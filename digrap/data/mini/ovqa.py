"""The miniature DomainNet as open questions: "what is in the image ?", answered by the name of the picture's class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from digrap.data.mini import domainnet
from digrap.data.mini.vqa.questions import Ask, text_of
from digrap.data.mini.vqa.words import name_of
from digrap.data.splits import DataModule, ImageTensors, Split
from digrap.metrics.vqa.question import Question, kind_of_questions

NAME = "minidomainnet_ovqa"
QUESTION = text_of(Ask("only"))
ANSWERS = 10  # equal ones: VQA's scorers then compare texts exactly


class AskedPictures(Dataset):
    """(PIL image in RGB, Question) items of drawn pictures, in their order."""

    def __init__(self, pictures: ImageTensors, split: str, kind: str):
        self.pictures, self.split, self.kind = pictures, split, kind
        self.names = [name_of(domainnet.CLASSES[label]) for label in pictures.labels.tolist()]

    @property
    def ids(self) -> list[str]:
        """Names of the questions, for prediction bundles."""
        return [f"{self.split}/{index}" for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Image.Image, Question]:
        pixels, _ = self.pictures[index]
        name = f"{self.split}/{index}"
        question = Question(
            name, name, (self.names[index],) * ANSWERS, question=QUESTION, picture=f"{NAME}:{name}",
            dataset=NAME, kind=kind_of_questions(self.kind),
        )  # fmt: skip
        return Image.fromarray(pixels.permute(1, 2, 0).numpy()), question


def build(root: str | Path, seed: int, image_size: int, splits: Mapping[str, Mapping[str, Any]]) -> DataModule:
    """Build the splits of configs/dataset/minidomainnet_ovqa.yaml: (PIL image, Question).

    Arguments and errors are those of `digrap.data.mini.domainnet.build`, whose cached pictures are shared.
    """
    drawn = domainnet.build(root, seed, image_size, splits)
    asked = {name: Split(name, split.kind, NAME, partial(_load, split)) for name, split in drawn.splits.items()}
    return DataModule(asked, tuple(map(name_of, drawn.classes)))


def _load(split: Split) -> AskedPictures:
    return AskedPictures(split.load(), split.name, split.kind)
