"""The choice among implementations that benchmarks and tests make."""

import pytest
import torch

from digrap.optim import DiGraP
from digrap.optim.kernels.build import library
from digrap.optim.paths import implementations
from tests.optim.steps import advance, shapes


def test_a_restriction_holds_within_alone():
    optimizer = DiGraP([torch.nn.Parameter(torch.zeros(3, 2))])
    usual = optimizer.implementation
    assert usual == ("native" if library("float") else "blocked")
    with implementations("blocked"):
        assert optimizer.implementation == "blocked"
        with implementations():
            assert optimizer.implementation == "foreach"
        assert optimizer.implementation == "blocked"
    assert optimizer.implementation == usual
    with pytest.raises(ZeroDivisionError), implementations("blocked"):
        1 / 0  # noqa: B018
    assert optimizer.implementation == usual


def test_what_groups_say_goes_first():
    optimizer = DiGraP([torch.nn.Parameter(torch.zeros(3, 2))], foreach=False)
    with implementations("blocked"):
        assert optimizer.implementation == "loop"


@pytest.mark.parametrize("name", ["loop", "natve"])
def test_other_names_are_refused(name):
    refusal = rf"'{name}' is not one of native, blocked, triton; foreach=True or False chooses the others"
    with pytest.raises(ValueError, match=refusal), implementations("blocked", name):
        pass


def test_one_state_serves_every_implementation():
    """Steps taken by turns equal those of one implementation, within rounding."""
    turns, alone = shapes(0, torch.float64), shapes(0, torch.float64)
    optimizer, reference = DiGraP(turns), DiGraP(alone, foreach=True)
    for step in range(6):
        with implementations(*(("native",), ("blocked",), ())[step % 3]):
            advance(optimizer, turns, [step])
        advance(reference, alone, [step])
    torch.testing.assert_close(turns, alone, rtol=1e-10, atol=1e-12)
