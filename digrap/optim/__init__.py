"""The update rules, as plain torch optimizers. Needs torch only: `from digrap.optim import DiGraP`."""

from digrap.optim.base import AnchoredOptimizer
from digrap.optim.digrap import DiGraP
from digrap.optim.groups import param_groups

__all__ = ["AnchoredOptimizer", "DiGraP", "param_groups"]
