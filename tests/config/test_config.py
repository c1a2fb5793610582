"""Bad configs and their messages; the kinds of splits."""

import pytest

from digrap.config.compose import compose
from digrap.config.schema import split_kinds
from digrap.core.errors import DigrapError
from tests.doors import call


@pytest.mark.parametrize(
    ("override", "key"),
    [("trainer.base.lr=-1", "trainer.base.lr"), ("trainer.epochs=0", "trainer.epochs"), ("seed=-1", "seed"),
     ("trainer.epochs=soon", "epochs"), ("trainer.precision=fp8", "trainer.precision")],
)  # fmt: skip
def test_bad_values_are_named(override, key):
    with pytest.raises(DigrapError, match=key):
        compose([override])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dataset=minidomainet"], ["dataset=minidomainet", "minidomainnet"]),
        (["optim=digrop"], ["optim=digrop", "digrap"]),
        (["optim.muu=1"], ["optim.muu", "optim.mu"]),
        (["trainer.base.lr=-1"], ["trainer.base.lr", "≥ 0"]),
        (["dataset=minivqa", "trainer.decoding=beam"], ["trainer.decoding=beam", "one of card, authors, greedy"]),
        (["optim.mu=-1"], ["mu=-1"]),
        (["optim.mu=abc"], ["mu='abc' is not a number"]),
        (["seed=0,1"], ["train.py -m"]),
        (["dataset=domainnet", "optim=digrap", "data_root=/nonexistent"],
         ["/nonexistent/domainnet", "scripts/download.py dataset=domainnet", "18.4 GB", "dataset=minidomainnet"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_and_exit_code_2(arguments, words, tmp_path):
    run = call("train.py", *arguments, f"hydra.run.dir={tmp_path}")
    message = run.stderr.splitlines()
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert len(message) == 1 and message[0].startswith("error: ")
    for word in words:
        assert word in message[0]


def test_split_kinds_of_a_folder_dataset():
    """OOD splits named on the command line have their kinds too."""
    cfg = compose(["dataset=folder", "dataset.near_ood=[sketch]", "dataset.far_ood=[2024,xray]"])
    ood = {name: kind for name, kind in split_kinds(cfg).items() if "ood" in kind}
    assert ood == {"sketch": "near_ood", "2024": "far_ood", "xray": "far_ood"}
    assert split_kinds(compose([]))["real_val"] == "id_val"
