"""The one error a user is meant to read."""


class DigrapError(Exception):
    """Bad input or a broken file, said as: what is wrong, where, and the command or change that mends it.

    The doors (train.py, evaluate.py, scripts) print its text alone and end with exit code 2. A loading process of
    torch's hands an error on as its type called with a whole traceback: the message is that text's end.
    """

    def __init__(self, text: str):
        if text.startswith(f"Caught {type(self).__name__} in DataLoader worker"):
            text = text.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(text)


class Busy(DigrapError):
    """Another process is writing the run folder."""
