"""Slow, simple float64 versions of rules and scorers, from the formulas; the fast ones are tested against them."""

from tests.reference.digrap import DiGraP
from tests.reference.ftp import FTP
from tests.reference.l2sp import L2SP
from tests.reference.mars_sp import MARSSP
from tests.reference.spd import SPD

RULES = {rule.__name__: rule for rule in (DiGraP, L2SP, MARSSP, SPD, FTP)}
