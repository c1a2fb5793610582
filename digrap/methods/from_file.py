"""An optimizer class from a user's Python file."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.optim import Optimizer

from digrap.core.errors import DigrapError
from digrap.core.files import sha256 as digest_of

_ARGS, _KWARGS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def from_file(
    params: list[dict[str, Any]],
    *,
    file: str | None,
    cls: str | None = None,
    options: dict[str, Any] | None = None,
    sha256: str | None = None,
    **common: Any,
) -> Optimizer:
    """The optimizer of `file` over `params`, with those of `common` that it takes, and all of `options`.

    `sha256` is the beginning of the content's digest by which the run is named. Raises DigrapError for a file without
    the one class asked for, for a file that changed since, and for arguments the class refuses.
    """
    found = find_class(file, cls)
    if sha256 is not None and not digest_of(Path(file)).startswith(sha256):
        raise DigrapError(f"optim.file={file}: it was changed while the run started; start it again")
    if "betas" in common:
        common["betas"] = tuple(common["betas"])
    names = accepted(found)
    given = {key: value for key, value in common.items() if names is None or key in names}
    try:
        return found(params, **{**given, **(options or {})})
    except Exception as error:  # whatever a user's constructor raises
        listed = names is not None and isinstance(error, TypeError)
        takes = f"; it takes {', '.join(sorted(names))}" if listed else ""
        raise DigrapError(f"optim.file={file}: {_told(error, Path(file))}{takes}") from error


def find_class(file: str | None, cls: str | None = None) -> type[Optimizer]:
    """The torch optimizer that `file` defines; `cls` names it where there are several, or one that the file imports.
    Raises DigrapError where there is no file, no class, or no choice."""
    if file is None:
        raise DigrapError("optim=file: optim.file is not given; add optim.file=my_rule.py")
    module = _module(Path(file))
    optimizers = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Optimizer) and value is not Optimizer
    }
    own = [name for name, value in optimizers.items() if value.__module__ == module.__name__]
    if cls is not None:
        if cls not in optimizers:
            raise DigrapError(f"optim.cls={cls}: {file} has no such torch optimizer; it defines {_listed(own)}")
        return optimizers[cls]
    if not own:
        raise DigrapError(f"optim.file={file}: it defines no subclass of torch.optim.Optimizer")
    if len(own) > 1:
        raise DigrapError(f"optim.file={file}: it defines {_listed(own)}; choose one, as in optim.cls={own[-1]}")
    return optimizers[own[0]]


def accepted(cls: type[Optimizer]) -> set[str] | None:
    """Names of the arguments that the class takes beside its parameters; None: any. Where **kwargs hands them on, what
    the next class takes counts as well."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base is Optimizer:
            return None
        if "__init__" not in vars(base):
            continue
        _, _, *arguments = inspect.signature(base.__init__).parameters.values()  # without self and the parameters
        names |= {argument.name for argument in arguments if argument.kind not in (_ARGS, _KWARGS)}
        if not any(argument.kind is _KWARGS for argument in arguments):
            return names
    return None


def _module(file: Path) -> ModuleType:
    """The file executed as a module, once per content; sys.modules has it, for pickling and dataclasses."""
    if not file.is_file():
        raise DigrapError(f"optim.file={file}: there is no such file (looked in {Path.cwd()})")
    name = f"digrap_file_{digest_of(file)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file)
    try:  # compiled here: importlib would leave a __pycache__ beside the user's file
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:  # whatever a user's file raises
        del sys.modules[name]
        raise DigrapError(f"optim.file={file}: {_told(error, file)}") from error
    return module


def _told(error: Exception, file: Path) -> str:
    """`line 7: NameError: …`, where the error passed through the file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{f'line {line}: ' if line else ''}{type(error).__name__}: {text}"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
