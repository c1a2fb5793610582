"""The one error a user is meant to read."""


class DigrapError(Exception):
    """Bad input or a broken file, said as: what is wrong, where, and the command or change that mends it.

    The doors (train.py, evaluate.py, scripts) print its text alone and end with exit code 2.
    """
