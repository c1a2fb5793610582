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
from digrap.optim.arguments import arguments_for


def from_file(
    params: list[dict[str, Any]],
    *,
    file: str | None,
    cls: str | None = None,
    options: dict[str, Any] | None = None,
    sha256: str | None = None,
    **common: Any,
) -> Optimizer:
    """An optimizer over `params` of the class that `file` defines, with the arguments in `common` that the class takes
    and with all of `options`.

    `sha256` holds the first digits of the file's digest when the run was named. Raises DigrapError if the file lacks
    the class, has changed since, or if the class refuses the arguments.
    """
    found = find_class(file, cls)
    if sha256 is not None and not digest_of(Path(file)).startswith(sha256):
        raise DigrapError(f"optim.file={file}: the file changed while the run started; run the command again")
    try:
        given = arguments_for(found, common, options or {}, "optim.options")
    except ValueError as error:
        raise DigrapError(f"optim.file={file}: {error}") from error
    try:
        return found(params, **given)
    except Exception as error:  # a user's constructor may raise anything
        raise DigrapError(f"optim.file={file}: {_described(error, Path(file))}") from error


def find_class(file: str | None, cls: str | None = None) -> type[Optimizer]:
    """The torch optimizer class that `file` defines, or the one called `cls`, which the file may define or import.

    Raises DigrapError if the file is missing or cannot be executed, or if it does not decide on one class."""
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


def _module(file: Path) -> ModuleType:
    """The file as a module, executed once per content and entered in sys.modules, for pickling and dataclasses."""
    if not file.is_file():
        raise DigrapError(f"optim.file={file}: there is no such file (current directory: {Path.cwd()})")
    name = f"digrap_file_{digest_of(file)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file)
    try:  # not by importlib, which would leave a __pycache__ beside the user's file
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except Exception as error:  # a user's file may raise anything
        del sys.modules[name]
        raise DigrapError(f"optim.file={file}: {_described(error, file)}") from error
    return module


def _described(error: Exception, file: Path) -> str:
    """`line 7: NameError: …`; the line is the last one of the file in the traceback, if it is in it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{f'line {line}: ' if line else ''}{type(error).__name__}: {text}"


def _listed(names: list[str]) -> str:
    """`a, b`, or "none"."""
    return ", ".join(names) or "none"
