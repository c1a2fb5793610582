"""The config of a run folder, fit to build from: it calls known code only, is whole, and is the run's."""

from __future__ import annotations

from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digrap.config.compose import register_resolvers
from digrap.config.identity import run_hash
from digrap.config.schema import typed
from digrap.config.targets import check_targets
from digrap.core.errors import DigrapError, first_line
from digrap.runs.folder import CONFIG_REMEDY, RESULTS, RunFolder

NEEDED = (
    "backbone.name", "backbone._target_", "trainer.base.lr", "schedule._target_", "optim.name", "dataset.name",
    "dataset._target_",
)  # fmt: skip


def checked_config(run: RunFolder, allow: Iterable[str] = (), edited: bool = False) -> DictConfig:
    """The config of a finished run with its references as they are, as `portable` writes them.

    Raises DigrapError where it is missing or damaged, calls what neither configs/ nor `allow` names, or has another
    hash than the results, unless it was `edited`: the scores would be those of something else.
    """
    cfg, file, results = run.config(), run.config_file, run.results()
    check_targets(OmegaConf.to_container(cfg, resolve=False), file, allow)
    register_resolvers()
    try:
        whole = typed(cfg)
        if missing := [key for key in NEEDED if OmegaConf.select(whole, key) is None]:
            raise DigrapError(f"no {', '.join(missing)}")
        found = None if edited else run_hash(cfg)
    except (DigrapError, OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise DigrapError(f"{file} is damaged ({reason}); {CONFIG_REMEDY}") from error
    if found not in (None, results.hash):
        raise DigrapError(
            f"{file} is not the config that the run was made with (it gives the hash {found}, {RESULTS} says "
            f"{results.hash}); {CONFIG_REMEDY}. If you changed it on purpose (a data folder, for example), add "
            "edited=true"
        )
    return cfg
