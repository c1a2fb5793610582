"""What the doors share: errors as one message and exit code 2, never a traceback for bad input."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.core.errors import DigrapError, nearest
from digrap.core.problems import Problems


def door(main: Callable[[], object], help: str | None = None) -> int:
    """Run `main`; print bad input, and files that cannot be read or written, as one message on stderr.

    With `help`, -h or --help prints that instead. Returns the exit code: 0, 2 after such a message, 130 after an
    interruption, 141 where nobody reads the output any more.
    """
    if help and {"-h", "--help"} & set(sys.argv[1:]):
        print(help.strip())
        return 0
    try:
        main()
        sys.stdout.flush()
    except DigrapError as error:
        return _complain(str(error))
    except MissingConfigException as error:
        return _complain(_unknown_choice(error))
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_bad_override(error))
    except BrokenPipeError:  # whoever reads has enough, `| head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        file = error.filename2 or error.filename  # of a renaming the file that was meant
        return _complain(f"{file}: cannot be read or written ({error.strerror or error}); give another place")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def in_job(run: Callable[[], float]) -> float:
    """Run a Hydra job. In a single run bad input ends the process here, without Hydra's own lines about it; in a
    multirun the error goes up, so that Hydra says which job it was."""
    try:
        return run()
    except DigrapError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise SystemExit(_complain(str(error))) from None


def bare_keys(arguments: list[str], defaults: dict[str, object]) -> DictConfig:
    """A script's `key=value` arguments over its defaults. Raises DigrapError for an unknown key."""
    for argument in arguments:
        key = argument.split("=", 1)[0]
        if "=" not in argument or key not in defaults:
            raise DigrapError(f"unknown argument {argument!r}: give key=value; {nearest(key, defaults)}")
    return OmegaConf.merge(defaults, OmegaConf.from_cli(arguments))


def with_overrides(arguments: list[str], defaults: dict[str, object]) -> tuple[DictConfig, list[str]]:
    """A script's keys as `bare_keys` gives them, and the `dataset.<key>=…` among its arguments, a config's."""
    overrides = [argument for argument in arguments if argument.lstrip("+~").startswith("dataset.")]
    return bare_keys([argument for argument in arguments if argument not in overrides], defaults), overrides


def check_flags(options: DictConfig, *names: str) -> None:
    """Raise DigrapError for what is neither true nor false."""
    for name in names:
        if not isinstance(options[name], bool):
            raise DigrapError(f"{name}={options[name]}: give true or false")


def check_whole(options: DictConfig, **ranges: tuple[int, int]) -> None:
    """Raise DigrapError for what is no whole number of its range, both ends included."""
    for name, (low, high) in ranges.items():
        if isinstance(options[name], bool) or not isinstance(options[name], int) or not low <= options[name] <= high:
            raise DigrapError(f"{name}={options[name]}: give a whole number from {low} to {high}")


def remark(problems: Problems) -> None:
    """Print what a script met on its way to stderr, a line a kind."""
    for kind, found in problems.summary().items():
        print(f"remark: {kind}: {found['count']} (first: {'; '.join(found['first'])})", file=sys.stderr)


def override(key: str, value: object) -> str:
    """An override for `digrap.config.compose`. Raises DigrapError for a value that would refer to another key."""
    text = str(value)
    if "${" in text:
        raise DigrapError(f"{key}={text}: ${{ stands for a reference to another key; give a name without")
    text = re.sub(r"(\\+)('|$)", r"\1\1\2", text)  # before a quote, and only there, Hydra takes two backslashes for one
    quoted = text.replace("'", r"\'")
    return f"{key}='{quoted}'"


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    choices = [choice for choice in error.options or () if not choice.startswith("_")]
    if not choices:
        return str(error).splitlines()[0]
    return f"{group}={name}: there is no such {group}; {nearest(name, sorted(choices))}"


def _bad_override(error: Exception) -> str:
    from digrap.config.compose import compose

    text = str(error)
    found = re.search(r"[Cc]ould not override '([^']+)'", text)
    if not found:
        if text.startswith("Ambiguous value for argument"):
            return f"{text.splitlines()[0]}: several values are a sweep, python train.py -m …"
        cause = f" ({error.__cause__})".splitlines()[0] if error.__cause__ else ""
        return text.splitlines()[0].removeprefix("DigrapError raised while resolving interpolation: ") + cause
    key = found[1]
    if found_group := re.search(r"No match in the defaults list", text):
        return f"{key}: there is no such config group ({found_group[0].lower()})"
    choices = [argument for argument in sys.argv[1:] if "=" in argument and "." not in argument.split("=")[0]]
    try:
        keys = _flatten(OmegaConf.to_container(compose([c for c in choices if not c.startswith(key + "=")])))
    except Exception:  # the choices themselves are part of what is wrong
        keys = _flatten(OmegaConf.to_container(compose([])))
    return f"{key}: there is no such option; {_near_keys(key, keys)}"


def _near_keys(key: str, keys: list[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else "`python train.py --cfg job` lists them all"


def _flatten(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for key, value in node.items():
        keys += [prefix + str(key), *_flatten(value, f"{prefix}{key}.")]
    return keys
