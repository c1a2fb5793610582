"""Evaluation: the order of answering, and the order in which answers come back."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from omegaconf import OmegaConf

from digrap.engine.evaluate import Evaluator
from digrap.engine.provenance import PeakMemory
from digrap.models.backbone import Backbone
from digrap.tasks.task import Batch

LENGTHS = [3, 9, 1, 9, 5, 4, 2, 8]


class Data(torch.utils.data.Dataset):
    """Example k is (k, 10 k)."""

    def __len__(self):
        return len(LENGTHS)

    def __getitem__(self, index):
        return index, 10 * index


class LongAndShort(Data):
    lengths = LENGTHS


class Echo:
    """A task that answers with the example; it keeps the batches that it was asked."""

    def __init__(self):
        self.batches = []

    def collate(self, records, train=False):
        places, truth = zip(*records, strict=True)
        return Batch({"place": torch.tensor(places)}, np.array(truth))

    def predict(self, module, batch):
        self.batches.append(batch.inputs["place"].tolist())
        return {"prediction": batch.inputs["place"].numpy()}


@pytest.fixture
def evaluator():
    cfg = OmegaConf.create({"trainer": {"eval_batch_size": 3, "workers": 0}})
    backbone = Backbone(torch.nn.Linear(1, 1), None)
    accelerator = Accelerator(cpu=True)
    return Evaluator(accelerator, backbone, Echo(), cfg, PeakMemory(accelerator))


@pytest.mark.parametrize(
    ("data", "batches"),
    [(LongAndShort(), [[1, 3, 7], [4, 5, 0], [6, 2]]), (Data(), [[0, 1, 2], [3, 4, 5], [6, 7]])],
)
def test_the_longest_are_answered_first_and_come_back_in_the_datasets_order(evaluator, data, batches):
    answers, truth = evaluator.predict(evaluator.backbone.module, data, "test", "test")
    assert evaluator.task.batches == batches
    assert answers["prediction"].tolist() == list(range(8)) and truth.tolist() == list(range(0, 80, 10))
