"""The update rules as torch optimizers: `from digrap.optim import DiGraP`. Needs nothing but torch."""

from digrap.optim.base import AnchoredOptimizer
from digrap.optim.digrap import DiGraP
from digrap.optim.ftp import FTP
from digrap.optim.groups import param_groups
from digrap.optim.l2sp import L2SP
from digrap.optim.mars_sp import MARSSP
from digrap.optim.spd import SPD

__all__ = ["FTP", "L2SP", "MARSSP", "SPD", "AnchoredOptimizer", "DiGraP", "param_groups"]
