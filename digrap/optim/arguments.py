"""Which arguments an optimizer's constructor takes, and which of those at hand it gets."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

_ARGS, _KWARGS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def accepted(make: Callable[..., Any]) -> set[str] | None:
    """Names of the arguments that a class or function takes besides the parameters; None: any.

    If a class passes **kwargs on, the arguments of the next class in the method resolution order count as well.
    """
    if not inspect.isclass(make):
        return _named(make, 1)[0]
    names: set[str] = set()
    for base in make.__mro__:
        if base is Optimizer:
            return None
        if "__init__" not in vars(base):
            continue
        found, more = _named(base.__init__, 2)  # self and the parameters
        if found is not None:
            return names | found
        names |= more
    return None


def _named(function: Callable[..., Any], first: int) -> tuple[set[str] | None, set[str]]:
    """The arguments of a function but for the `first` ones, None where it takes any, and those that it names."""
    try:
        arguments = list(inspect.signature(function).parameters.values())[first:]
    except (TypeError, ValueError):  # some built-in callables have no signature
        return None, set()
    names = {argument.name for argument in arguments if argument.kind not in (_ARGS, _KWARGS)}
    return None if any(argument.kind is _KWARGS for argument in arguments) else names, names


def arguments_for(
    make: Callable[..., Any], common: Mapping[str, Any], own: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Return the arguments for a constructor: those in `common` that it takes, and all in `own`.

    Raises ValueError for one in `own` that it does not take; `place` is the config's key of these.
    """
    names = accepted(make)
    title = getattr(make, "__qualname__", str(make))
    for key in own:
        if names is not None and key not in names:
            raise ValueError(
                f"{place}.{key}: {title} takes no such argument; leave it out; {nearest(key, sorted(names))}"
            )
    found = {key: value for key, value in common.items() if names is None or key in names} | dict(own)
    if "betas" in found:
        found["betas"] = tuple(found["betas"])
    return found


def nearest(name: str, choices: Iterable[str]) -> str:
    """`nearest: a, b` for the choices most like `name`, or all of them if none is like it."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"valid: {', '.join(choices) or 'none'}"
