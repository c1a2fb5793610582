"""What earlier starts left in a run's folder: another run's files are refused, remains of killed starts removed, and
commits remembered."""

from __future__ import annotations

import contextlib
import glob
import logging
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.identity import NOT_IDENTITY, run_hash
from digrap.core.errors import Busy, DigrapError, first_line
from digrap.engine import checkpoint
from digrap.runs.folder import RunFolder
from digrap.runs.lock import forget_gone, hold
from digrap.runs.predictions import labels_file
from digrap.runs.results import Results
from digrap.runs.written import TEMPORARY, kept_answers

log = logging.getLogger(__name__)


def refuse_another_run(cfg: DictConfig, here: RunFolder) -> None:
    """Raise DigrapError where the folder holds another run than `cfg` describes, finished or with a checkpoint: this
    one would take its state or its scores. A folder of one's own (hydra.run.dir=…) makes that possible."""
    mine = run_hash(cfg)
    if (held := _held(here, mine)) not in (None, mine):
        raise DigrapError(
            f"{here.path} holds run {held}, and this is run {mine}{_differences(cfg, here)}; give another "
            "hydra.run.dir, or leave it out, so that each run has its own folder"
        )


def _held(here: RunFolder, mine: str) -> str | None:
    """The hash of the run whose results or state the folder has; None where it has neither."""
    if (results := here.finished()) is not None:
        return results.hash
    if found := checkpoint.folders(here.checkpoints):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # loading it names the damage
            return checkpoint.manifest(found[-1])["run"]
    if here.variants_file.exists() and here.path.name != mine:
        try:
            return run_hash(here.config())
        except (DigrapError, OmegaConfBaseException, KeyError, AttributeError, TypeError) as error:
            remedy = f"delete {here.variants_file} to test every variant again, or give another hydra.run.dir"
            raise DigrapError(
                f"{here.config_file} does not tell which run the folder holds ({first_line(error)}); {remedy}"
            ) from error
    return None


def _differences(cfg: DictConfig, here: RunFolder) -> str:
    """The first keys in which the folder's config differs, as a parenthesis; nothing where that cannot be told."""
    try:
        old, new = _flat(OmegaConf.to_container(here.config())), _flat(OmegaConf.to_container(cfg))
    except (DigrapError, OmegaConfBaseException):
        return ""
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    keys = [key for key in keys if not any(key == left or key.startswith(left + ".") for left in NOT_IDENTITY)]
    shown = [f"{key}={new.get(key)}, there {old.get(key)}" for key in keys[:3]]
    return f" ({'; '.join(shown)}{'; …' if len(keys) > 3 else ''})" if keys else ""


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    parts = [_flat(inner, f"{key}.{part}".lstrip(".")) for part, inner in value.items()]
    return {name: item for part in parts for name, item in part.items()}


def starts(here: RunFolder, origin: dict[str, Any]) -> list[dict[str, Any]]:
    """The origins (commit, dirty, started) of all starts that the run's state comes from, this one's at the end.

    Call it before run.json is overwritten. Earlier starts count where there is something to resume; where run.json does
    not tell of them, one of unknown commit stands for them.
    """
    if not (checkpoint.folders(here.checkpoints) or here.variants_file.exists() or kept_answers(here.path)):
        return [origin]
    earlier = here.facts().get("starts")
    whole = isinstance(earlier, list) and earlier and all(isinstance(start, dict) for start in earlier)
    return [*(earlier if whole else [{"commit": "unknown", "dirty": None, "started": None}]), origin]


def provenance_of(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """The keys of results.json about the code: the last commit, and dirty where any start was (None where any is
    unknown). `commits` lists all where there are several."""
    dirty = [start.get("dirty") for start in starts]
    commits = list(dict.fromkeys(start.get("commit") for start in starts))
    return {
        "commit": starts[-1]["commit"],
        "dirty": True if True in dirty else None if None in dirty else False,
        **({"commits": commits} if len(commits) > 1 else {}),
    }


def remove_temporaries(here: RunFolder) -> None:
    """Remove files and folders that a killed start had not renamed yet. Call it with the folder's lock."""
    labels = labels_file(here.path.parent, "").parent.glob(f".*.npz.{glob.escape(here.path.name)}.*.tmp")
    inside = [path for folder in (here.path, here.checkpoints) for path in folder.glob(".*.tmp")]
    for path in [*labels, *(path for path in inside if TEMPORARY.fullmatch(path.name))]:
        _remove(path)


def tidy(here: RunFolder, results: Results) -> None:
    """Leave of a finished run what outputs/README.md names: without weights that were not tested, and without
    checkpoints unless its config has trainer.keep_checkpoints. Call it with the folder's lock."""
    remove_temporaries(here)
    for path in _remains(here, results):
        _remove(path)


def tidy_finished(here: RunFolder, results: Results) -> None:
    """`tidy` for a run that an earlier start finished and was killed after; nothing where another process is at it."""
    if _remains(here, results):
        with contextlib.suppress(Busy, OSError), hold(here):
            tidy(here, results)
            log.info("%s: removed what a killed start had left", here.path)
    with contextlib.suppress(OSError):
        forget_gone(here)


def _remains(here: RunFolder, results: Results) -> list[Path]:
    tested = results.weights and here.path / results.weights
    weights, states = checkpoint.weights_files(here.checkpoints), checkpoint.folders(here.checkpoints)
    temporary = [path for path in here.checkpoints.glob(".*.tmp") if TEMPORARY.fullmatch(path.name)]
    variants = [here.variants_file] if here.variants_file.exists() else []
    others = [path for path in weights if path != tested]
    if states and _keeps_checkpoints(here):
        states, others = [], []
    return [*states, *others, *temporary, *variants, *kept_answers(here.path)]


def _keeps_checkpoints(here: RunFolder) -> bool:
    trainer = here.plain_config().get("trainer")
    return isinstance(trainer, dict) and trainer.get("keep_checkpoints") is True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
