"""The miniature DomainNet as open questions."""

import numpy as np
import pytest

from digrap.config.compose import compose
from digrap.core.errors import DigrapError
from digrap.data.mini import domainnet, ovqa
from digrap.data.mini.vqa.words import WORDS
from digrap.engine.build import build_data
from digrap.tasks.task import task_named
from tests.tasks import answering

SIZES = {"real_train": 45, "real_val": 45, "real": 90, "clipart": 45}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    kinds = {"real_train": "id_train", "real_val": "id_val", "real": "id_test", "clipart": "near_ood"}
    splits = {name: {"domain": name.split("_")[0], "kind": kinds[name], "size": size} for name, size in SIZES.items()}
    return tmp_path_factory.mktemp("minidomainnet"), 0, 48, splits


def test_its_pictures_are_the_miniatures_and_its_answers_the_class_names(arguments):
    plain, asked = domainnet.build(*arguments), ovqa.build(*arguments)
    for name, split in plain.splits.items():
        images, questions = split.load(), asked.splits[name].load()
        assert (asked.splits[name].kind, len(questions)) == (split.kind, SIZES[name])
        for index in range(0, len(questions), 7):
            (pixels, label), (image, question) = images[index], questions[index]
            assert image.mode == "RGB" and np.array_equal(np.asarray(image), pixels.permute(1, 2, 0).numpy())
            assert question.answers == (domainnet.CLASSES[label].replace("_", " "),) * 10
            assert question.question == "what is in the image ?" and question.id == questions.ids[index]
        assert len(set(questions.ids)) == len(questions)
    assert {word for name in asked.classes for word in name.split()} <= set(WORDS)


def test_its_metric_is_exact_match(arguments):
    """Every answer is a class's name; only that name, in whatever case, is right."""
    made = ovqa.build(*arguments)
    questions = made.splits["real"].load()
    records = np.array([questions[index][1] for index in range(len(questions))], dtype=object)
    said = [record.target.upper() if at % 2 else record.target + "s" for at, record in enumerate(records)]
    task = task_named("naming", answering.build(), made.classes, "EM")
    scores = task.example_scores({"prediction": np.array(said, dtype=object)}, records)
    assert scores["EM"].tolist() == [float(at % 2) for at in range(len(records))]


def test_the_config_builds_it_and_a_wrong_size_is_refused(tmp_path):
    cfg = compose(["dataset=minidomainnet_ovqa", f"data_root={tmp_path}"])
    assert list(build_data(cfg).splits) == list(build_data(compose([f"data_root={tmp_path}"])).splits)
    with pytest.raises(DigrapError, match=r"dataset\.image_size=64"):
        build_data(compose(["dataset=minidomainnet_ovqa", f"data_root={tmp_path}", "dataset.image_size=64"]))
