"""The entry point of every door: bad input becomes one message and exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.cli.arguments import CHOSEN
from digrap.cli.closed_pipe import closed_pipe
from digrap.cli.slurm_job import failing_job, outlive_signals
from digrap.config.choices import how_to_list
from digrap.config.cluster import Cluster
from digrap.config.compose import compose_untyped, start_config
from digrap.config.identity import run_hash
from digrap.config.known_keys import nearest_key
from digrap.config.overrides import as_typed
from digrap.config.schema import typed
from digrap.core.errors import Busy, DigrapError, Interrupted, nearest
from digrap.core.paths import CONFIGS
from digrap.core.problems import Problems
from digrap.engine.ranks import check_no_sweep, rank
from digrap.runs.refused import remove_refused


def door(main: Callable[[], object], help: str | None = None) -> int:
    """Run `main`; print bad input, and files that cannot be read or written, as one message on stderr.

    With `help`, -h or --help prints that instead. Returns the exit code: 0, 2 after such a message, 130 after Ctrl-C,
    143 after SIGTERM (engine/interruption.py), 141 where the reader has closed the pipe.
    """
    try:
        if help and {"-h", "--help"} & set(sys.argv[1:]):
            print(help.strip())
        else:
            main()
        sys.stdout.flush()
    except DigrapError as error:
        return _complain(str(error))
    except MissingConfigException as error:
        return _complain(_unknown_choice(error))
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_bad_override(error))
    except BrokenPipeError:
        return closed_pipe()
    except OSError as error:
        if error.filename is None:
            raise
        return _complain(_bad_file(error))
    except ValueError as error:
        if not isinstance(cause := error.__cause__, OSError) or cause.filename is None:
            raise
        return _complain(_bad_file(cause))  # logging words it so where train.log cannot be opened
    except KeyboardInterrupt as error:
        what = str(error) or "interrupted"
        print(f"{what}; the same command resumes from the last checkpoint", file=sys.stderr)
        return error.code if isinstance(error, Interrupted) else 130
    return 0


def hydra_door(main: Callable[[], object]) -> int:
    """As `door`, for a main of Hydra's: names and paths of the command line are taken as they were typed."""

    def start() -> None:
        several = bool({"-m", "--multirun"} & set(sys.argv[1:]))
        if several:
            check_no_sweep(sys.argv[1:])
        arguments = [as_typed(argument if several else _listed(argument), several) for argument in sys.argv[1:]]
        arguments.sort(key=lambda argument: argument not in ("-m", "--multirun"))  # Hydra takes it first or last alone
        table = several and any(argument.startswith("table=") for argument in arguments)
        sys.argv[1:] = list(map(_of_the_runs, arguments)) if table else arguments
        main()

    return door(start)


def _listed(argument: str) -> str:
    """`split=real,sketch` as the list that Hydra reads."""
    several = re.fullmatch(r"split=([\w.-]+(?:,[\w.-]+)+)", argument)
    return f"split=[{several[1]}]" if several else argument


def _of_the_runs(argument: str) -> str:
    """An option of a table's runs, as one that Hydra adds where the key depends on the choices of groups: its own
    config, before the table's overrides, may lack it; each run's config is checked by itself."""
    return f"++{argument}" if argument.startswith(CHOSEN) else argument


def in_job(run: Callable[[], float], made: DictConfig | None = None) -> float:
    """Run a Hydra job. In a single run bad input ends the process here, without Hydra's own lines about it; in a
    multirun the error is raised, so that Hydra names the job. In a job of Slurm's, `failing_job` notes it. Bad input
    that ends the run `made` before it has begun leaves no folder of it."""
    folder, several = Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with failing_job(folder):
            score = run()
        if not several:
            outlive_signals()
        return score
    except (DigrapError, OSError) as error:
        if made is not None and isinstance(error, DigrapError) and not isinstance(error, Busy) and rank() == 0:
            _remove_refused(made, folder, failed_too=not several and "SLURM_JOB_ID" not in os.environ)
        named = isinstance(error, DigrapError) or error.filename is not None
        if several or not named or isinstance(error, BrokenPipeError):
            raise
        raise SystemExit(_complain(str(error) if isinstance(error, DigrapError) else _bad_file(error))) from None


def _remove_refused(cfg: DictConfig, folder: Path, failed_too: bool) -> None:
    """Remove what a refused run has left, and what the runs have that it is initialised from."""
    with contextlib.suppress(DigrapError):  # one that does not compose has no folder
        while remove_refused(folder, failed_too) and (cfg := start_config(typed(cfg))) is not None:
            folder = folder.parent / run_hash(cfg)


def check_single(cfg: DictConfig) -> None:
    """Raise DigrapError for the options of a table in the config of one run."""
    if cfg.table is not None:
        command = shlex.join(["python", "train.py", "-m", as_typed(f"table={cfg.table}")])
        raise DigrapError(f"table={cfg.table} is a multirun: {command}")
    if cfg.dry_run:
        raise DigrapError("dry_run=true needs a table: python train.py -m table=… dry_run=true")
    if cfg.published is not None:
        option = f"published={cfg.published}"
        raise DigrapError(f"{option} needs a table: python train.py -m table=… {option}")


def names_other_data(cfg: DictConfig, own: Iterable[str]) -> bool:
    """Whether a dataset is chosen beside run=, which is scored on it in place of its own. Raises DigrapError for an
    option beside run= that is neither one of the dataset nor one of `own`: the run's own config is used, not it."""
    given = [argument.lstrip("+~").partition("=")[0] for argument in HydraConfig.get().overrides.task]
    other = "dataset" in given
    if other:
        own = (*own, "data_root", *(key for key in given if key.startswith("dataset")))
    if cfg.run is not None and (unused := [key for key in given if key not in own]):
        raise DigrapError(
            f"run={cfg.run} is scored with its own config.yaml, so {', '.join(unused)} would be ignored; leave that "
            "out. If the data have moved, change the folder in config.yaml and add edited=true; to score other data, "
            "add dataset=folder dataset.root=…"
        )
    return other


def print_warnings(problems: Problems) -> None:
    """Print each kind of problem to stderr, one line per kind with its first examples."""
    for kind, found in problems.summary().items():
        print(f"warning: {kind}: {found['count']} (first: {'; '.join(found['first'])})", file=sys.stderr)


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _bad_file(error: OSError) -> str:
    file = error.filename2 or error.filename  # a failed rename names its target second
    remedies = {errno.EISDIR: "move that folder away", errno.ENOSPC: "free some space, or use another folder"}
    remedy = remedies.get(error.errno, "give another place")
    return f"{file}: cannot be read or written ({error.strerror or error}); {remedy}"


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if group.startswith("best/"):  # winners of a table, which its sweep writes
        known = [path.stem for path in (CONFIGS / group).glob("*.yaml")]
        near = f"{nearest(name, known)}; " if known else ""
        table = group.removeprefix("best/")
        return (
            f"best={table}/{name}: no search has chosen it; {near}python train.py -m table={table} runs that "
            "table's searches"
        )
    choices = [choice for choice in error.options or () if not choice.startswith("_")]
    if not choices:
        return str(error).splitlines()[0]
    there = f"{group}={name}: there is no such {group}; {nearest(name, sorted(choices))}"
    return "; ".join(filter(None, [there, how_to_list(group)]))


def _bad_override(error: Exception) -> str:
    text, door = str(error), "evaluate" if Path(sys.argv[0]).stem == "evaluate" else "train"
    found = re.search(r"[Cc]ould not override '([^']+)'", text)
    if not found:
        if wrong := re.match(r"LexerNoViableAltException: (.*)|Error parsing override '(.*)'", text):
            return f"{wrong[1] or wrong[2]}: give key=value, as in data_root=/data"
        if text.startswith("Ambiguous value for argument"):
            several = (
                "evaluate.py takes one value"
                if door == "evaluate"
                else "several values make a sweep: python train.py -m …"
            )
            return f"{text.splitlines()[0]}: {several}"
        cause = f" ({error.__cause__})".splitlines()[0] if error.__cause__ else ""
        return text.splitlines()[0].removeprefix("DigrapError raised while resolving interpolation: ") + cause
    key = found[1]
    if found_group := re.search(r"No match in the defaults list", text):
        return f"{key}: there is no such config group ({found_group[0].lower()})"
    chosen = [argument for argument in sys.argv[1:] if "." not in argument.partition("=")[0]]
    chosen = [argument for argument in chosen if "=" in argument and not argument.startswith(f"{key}=")]
    try:
        keys = _flatten(OmegaConf.to_container(compose_untyped(chosen, door)))
    except Exception:  # the choices themselves are part of what is wrong
        keys = _flatten(OmegaConf.to_container(compose_untyped([], door)))
    keys += [f"cluster.{field.name}" for field in dataclasses.fields(Cluster)]
    return f"{key}: there is no such option; {nearest_key(key, keys)}"


def _flatten(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for key, value in node.items():
        keys += [prefix + str(key), *_flatten(value, f"{prefix}{key}.")]
    return keys
