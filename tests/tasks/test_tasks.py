"""The contract of tasks, held by two: classes with hits or misses, and answers in text with soft scores."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digrap.core.errors import DigrapError
from digrap.data.vqa import build_own
from digrap.models import mini_resnet
from digrap.tasks.task import Batch, known_tasks, task_named
from tests.tasks import answering


def batch(size):
    return Batch({"a": torch.arange(size), "b": torch.arange(3.0 * size).reshape(size, 3)}, np.arange(size))


@given(st.integers(1, 40), st.integers(1, 50))
def test_micro_batches_are_the_batch_in_order(size, micro):
    parts = batch(size).split(micro)
    assert [part.size for part in parts[:-1]] == [micro] * (len(parts) - 1) and 1 <= parts[-1].size <= micro
    for name, value in batch(size).inputs.items():
        assert torch.equal(torch.cat([part.inputs[name] for part in parts]), value)
    assert np.array_equal(np.concatenate([part.truth for part in parts]), np.arange(size))


def test_a_batch_moves_with_its_truth_on_the_host():
    moved = batch(3).to("meta")
    assert all(value.device.type == "meta" for value in moved.inputs.values()) and moved.truth.tolist() == [0, 1, 2]


def test_known_tasks_and_their_scores():
    assert known_tasks() == ["classification", "naming", "vqa"]
    backbone = mini_resnet.mini_resnet()
    with pytest.raises(DigrapError, match="dataset.task=clasification: .*nearest: classification"):
        task_named("clasification", backbone, (), "accuracy")
    with pytest.raises(DigrapError, match="dataset.select_by=f1: .*accuracy"):
        task_named("classification", backbone, (), "f1")
    with pytest.raises(DigrapError, match="does not answer questions"):
        task_named("vqa", backbone, (), "official2021")
    with pytest.raises(DigrapError, match="dataset.select_by=official2022: .*official2021"):
        task_named("vqa", answering.build(), (), "official2022")


def test_the_truth_of_loading_processes_is_what_they_loaded():
    """Batches wait in the workers' queues while tensors of the same size are made and freed."""
    collate = task_named("classification", mini_resnet.mini_resnet(), ("a", "b"), "accuracy").collate
    records = [(torch.zeros(3, 4, 4, dtype=torch.uint8), number) for number in range(600)]
    loader = torch.utils.data.DataLoader(records, batch_size=9, num_workers=2, prefetch_factor=8, collate_fn=collate)
    seen = [(batch.truth.tolist(), batch.inputs["label"].tolist()) for batch in loader]
    assert all(truth == labels for truth, labels in seen)
    assert [number for truth, _ in seen for number in truth] == list(range(600))


def test_classification_scores_hits():
    backbone = mini_resnet.mini_resnet()
    task = task_named("classification", backbone, tuple(map(str, range(45))), "accuracy")
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = task.collate([(image, place) for place, image in enumerate(images)])
    assert made.size == 6 and made.inputs["label"].dtype == torch.int64
    backbone.module.eval()
    with torch.no_grad():
        answers, loss = task.predict(backbone.module, made), task.loss(backbone.module, made)
        logits = backbone.module(backbone.batch_transform(images))
    assert np.array_equal(answers["prediction"], logits.argmax(1)) and answers["top"].shape == (6, 5)
    assert torch.equal(loss, torch.nn.functional.cross_entropy(logits, torch.arange(6)))
    scores = task.example_scores(answers, made.truth)
    assert scores.keys() == {"accuracy"} and set(scores["accuracy"]) <= {0.0, 1.0}
    kept, truth = task.stored(answers, made.truth, scores)
    assert kept.keys() == {"prediction", "probability"} and truth.keys() == {"label"}
    assert task.report(answers, made.truth)["accuracy"] == pytest.approx(100 * scores["accuracy"].mean())


def test_questions_score_softly(tmp_path):
    """Of ten people one, two or three gave the answer: 0.3, 0.6 and 0.9; from four on it is right."""
    answering.write_questions(tmp_path)
    splits = {"train": {"file": "train.json", "kind": "id_train"}, "val": {"file": "val.json", "kind": "id_val"}}
    data = build_own(tmp_path, splits).splits["val"].load()
    task = task_named("vqa", answering.build(), (), "official2021")
    made = task.collate([data[place] for place in range(8)])
    assert made.size == 8 and "answer" not in made.inputs
    trained = task.collate([data[place] for place in range(8)], train=True)
    assert [answering.ANSWERS[place] for place in trained.inputs["answer"]] == [q.target for q in trained.truth]
    right = {"prediction": np.array([question.target for question in made.truth], dtype=object)}
    scores = task.example_scores(right, made.truth)
    assert set(scores) == {"official2021", "official2017", "m4c"}
    people = [question.answers.count(question.target) for question in made.truth]
    wanted = [{1: 0.3, 2: 0.6, 3: 0.9, 4: 1.0}[count] for count in people]
    assert scores["official2021"].tolist() == pytest.approx(wanted) and set(people) == {1, 2, 3, 4}
    kept, truth = task.stored(right, made.truth, scores)
    assert truth == {} and kept.keys() == {"prediction", *(f"score.{name}" for name in scores)}
    report = task.report(right, made.truth)
    assert report["official2021"] == pytest.approx(100 * np.mean(wanted))
    assert set(report["by_type"]["m4c"]["per_answer_type"]) == {"other", "number"}
