"""A tiny model that answers questions, and questions for it: the second proof of the task contract."""

import json
import zlib

import torch
from PIL import Image
from torch import nn

from digrap.models.backbone import Backbone

ANSWERS = ("red", "blue", "2", "yes", "a dog")
WORDS, WIDTH, LENGTH = 97, 12, 8


class Answerer(nn.Module):
    """Hashed words (N, 8) and mean colours (N, 3) → logits over ANSWERS."""

    def __init__(self):
        super().__init__()
        self.words, self.dropout = nn.EmbeddingBag(WORDS, WIDTH, padding_idx=0), nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH + 3, len(ANSWERS))

    def forward(self, words, colours):
        return self.head(self.dropout(torch.cat([self.words(words), colours], dim=1)))


class Stub:
    """See `digrap.models.backbone.Answering`."""

    def encode(self, images, questions, answers=None):
        inputs = {
            "words": torch.tensor([self._words(question) for question in questions]),
            "colours": torch.tensor([image.resize((1, 1)).getpixel((0, 0)) for image in images]) / 255,
        }
        return inputs if answers is None else {**inputs, "answer": torch.tensor([ANSWERS.index(a) for a in answers])}

    def _words(self, question):
        found = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in question.split()][:LENGTH]
        return found + [0] * (LENGTH - len(found))

    def loss(self, module, inputs):
        return nn.functional.cross_entropy(module(inputs["words"], inputs["colours"]), inputs["answer"])

    def generate(self, module, inputs):
        return [ANSWERS[place] for place in module(inputs["words"], inputs["colours"]).argmax(1).tolist()]


def build(num_classes=0, classes=()):
    return Backbone(Answerer(), None, head=("head",), answering=Stub(), provenance={"source": "random weights"})


def write_questions(root, count=24):
    """Files of dataset=vqa_json: of ten answers the first is given by 4, 3, 2 or 1 people, so that scores are soft."""
    (root / "images").mkdir(parents=True)
    for name in ("red", "blue"):
        Image.new("RGB", (4, 4), name).save(root / "images" / f"{name}.png")
    for split, shift in (("train", 0), ("val", 1), ("test", 2), ("test_far", 3)):
        entries = []
        for k in range(count):
            colour, agree = ("red", "blue")[(k + shift) % 2], 4 - (k + shift) % 4
            others = [answer for answer in ANSWERS if answer != colour]
            answers = [colour] * agree + [f"{others[i % 4]} {split} {i}" for i in range(10 - agree)]
            entries.append({
                "question_id": 100 * shift + k, "image": f"{colour}.png", "question": f"what colour is number {k % 5}",
                "answers": answers, "answer_type": ("other", "number")[k % 2],
            })  # fmt: skip
        (root / f"{split}.json").write_text(json.dumps(entries))
    return [
        "dataset=vqa_json", f"dataset.root={root}", "dataset.far_ood=[far]", f"backbone._target_={__name__}.build",
        "backbone.name=stub", "~backbone.pretrained", "~backbone.weights", "+backbone.tasks=[vqa]", "trainer=mini",
        "schedule=constant", "trainer.batch_size=8", "trainer.micro_batch=4", "trainer.epochs=3", "log_every=2",
        "trainer.base.lr=0.05", "trainer.validate_every=1", "trainer.eval_batch_size=7", "device=cpu",
    ]  # fmt: skip
