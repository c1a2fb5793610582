"""Slow, obvious float64 versions of rules and scorers, from the formulas; the fast ones are held against them."""
