"""Every method makes of the small miniature what it made when the golden runs were recorded."""

import json

import pytest

from digrap.engine import run as engine
from tests.engine.golden import FILE, METHODS, machine, overrides, record

GOLDEN = json.loads(FILE.read_text())


def test_every_method_has_a_golden_run():
    assert sorted(GOLDEN["methods"]) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_golden(small, tmp_path, method):
    """Bit for bit on the machine that recorded them, elsewhere up to rounding: the same tensors move as far."""
    engine.run(small(*overrides(method)), tmp_path / "run")
    found, wanted = record(tmp_path / "run"), GOLDEN["methods"][method]
    if machine() == GOLDEN["machine"]:
        assert found == wanted
    else:
        assert found["distances"] == pytest.approx(wanted["distances"], rel=0.05)
        assert found["scores"] == pytest.approx(wanted["scores"], abs=5)
