"""Tables as multiruns: `python train.py -m table=demo` runs what is missing of configs/tables/demo.yaml.

Any launcher carries it. Without a table it runs every combination of comma-separated values, as Hydra's own sweeper
does, and ends in a ranking of them.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from digrap.cli.print_sweep import print_sweep
from digrap.config.cluster import cluster_of
from digrap.core.errors import Busy, DigrapError
from digrap.report.sweep_summary import Job
from digrap.runs.folder import RunFolder
from digrap.tables.array_job import array_lines
from digrap.tables.changes import changes_runs
from digrap.tables.cost import dry_run
from digrap.tables.missing_runs import Plan, Stages
from digrap.tables.published import published_table
from digrap.tables.slurm_jobs import ACTIVE, Ledger, job_states
from digrap.tables.spec import Cell, Table, load_table
from digrap.tables.winners import write_winners
from hydra_plugins.digrap_table_sweeper.killed_workers import OutlivingLauncher, Waiting, on_slurm

if TYPE_CHECKING:
    from digrap.engine.preflight import Preflight

log = logging.getLogger(__name__)
Failures = list[tuple[Any, Exception]]  # runs and what ended them
POLL_SECONDS = 5.0  # between checks of runs that another process makes


@dataclass
class TableSweeperConf(BasicSweeperConf):
    """The options are BasicSweeper's."""

    _target_: str = "hydra_plugins.digrap_table_sweeper.table_sweeper.TableSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="table", node=TableSweeperConf, provider="digrap")


class TableSweeper(BasicSweeper):
    """Sweep over the runs of a table, stage by stage; without a table, over the values given."""

    def setup(self, **context: Any) -> None:
        """As BasicSweeper; a killed process of the launcher does not end the others' runs."""
        self.slurm = on_slurm(context["config"])
        if self.slurm and find_spec("submitit") is None:
            install = "python -m pip install hydra-submitit-launcher"
            raise DigrapError(f"hydra/launcher=slurm needs a package: {install}; scripts/sbatch.py does without")
        super().setup(**context)
        if self.slurm or self.config.table is None:
            self.launcher.task_function = Waiting(self.launcher.task_function)
        self.batch: list[Cell] = []  # the runs that are being launched
        self.preflight: Preflight | None = None
        if self.slurm:
            from hydra_plugins.digrap_table_sweeper._slurm_jobs import SlurmBatches  # needs submitit

            self.launcher = SlurmBatches(self.launcher, self._submitted)
        self.launcher = OutlivingLauncher(self.launcher, self.config)

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every run of the table that is not finished: searches, then all seeds with the winners, then the runs
        initialised from those. Other arguments go to every run; `seed=` replaces the table's seeds.

        A failed run does not stop the others; the error at the end names each with its command.
        """
        if self.config.table is None:
            return self._values(arguments)
        table, unchanged = self._table(arguments)
        plan = Plan(table, Path(self.config.hydra.sweep.dir).parent, published_table(self.config.published, table))
        if self.config.dry_run:
            print(dry_run(plan))
            if self.slurm:
                print(array_lines(cluster_of(self.config), len(plan.ready())))
            return None
        known = len(plan.known())
        log.info("table %s: %d of %d runs are done", table.name, known - len(plan.missing()), known)
        returns, failed = self._stages(plan)
        if unchanged and table.searches:
            for path in write_winners(plan):
                log.info("winner: %s", path)
        failed = [(cell.overrides, error) for cell, error in failed]
        self._raise(failed, f"table={table.name}: {len(failed)} runs failed")
        return returns

    def _values(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Launch a run for every combination of the values, then print what they found, best first."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        words = {word: given for override in overrides for word, given in _as_given(override).items()}
        returns: list[Sequence[JobReturn]] = []
        lacking: Failures = []
        for batch in self.split_arguments(overrides, self.max_batch_size):
            batch = [[words[word] for word in job] for job in batch]
            self.validate_batch_is_legal(batch)
            able, refused = self._divided([(job, self._to_make(job)) for job in batch])
            lacking += refused
            if able:
                returns.append(self.launcher.launch(able, initial_job_idx=sum(map(len, returns))))
        if lacking and not returns:
            raise _nothing_begins(lacking)
        results = [result for batch in returns for result in batch]
        places = [(one.overrides, one.hydra_cfg.hydra.runtime.output_dir) for one in results if one.hydra_cfg]
        print_sweep([Job(tuple(overrides), Path(folder)) for overrides, folder in places])
        failed = lacking + [(one.overrides, one._return_value) for one in results if one.status == JobStatus.FAILED]
        self._raise(failed, f"{len(failed)} of {len(results) + len(lacking)} runs failed")
        return returns

    def _to_make(self, job: Sequence[str]) -> DictConfig | None:
        """The config of a job's run; None where that is finished."""
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
        folder = Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir
        return None if RunFolder(folder).done() and not cfg.fresh else cfg

    def _divided(self, runs: Sequence[tuple[Any, DictConfig | None]]) -> tuple[list[Any], Failures]:
        """Of (run, its config; None: not to be looked at): the runs that can begin, and those that lack something."""
        from digrap.engine.preflight import Preflight  # torch: a table whose runs are all done needs none

        self.preflight = self.preflight or Preflight(elsewhere=self.slurm)
        found = [(run, cfg and self.preflight.lacking(cfg)) for run, cfg in runs]
        able = [run for run, error in found if error is None]
        refused = [(run, error) for run, error in found if error is not None]
        for text, those in _by_error(refused if able else []).items():
            log.warning("%d runs cannot start, the others go on: %s", len(those), text)
        return able, refused

    def _raise(self, failed: Failures, what: str) -> None:
        """Raise DigrapError with the command of every failed run, and each error once, where there is one."""
        lines = [f"{what}; their folders are kept:"]
        for text, runs in _by_error(failed).items():
            lines += [*(f"  {self.launcher.command(overrides)}" for overrides in runs), f"    {text}"]
        if failed:
            raise DigrapError("\n".join(lines))

    def _table(self, arguments: list[str]) -> tuple[Table, bool]:
        """Return the table with the changes of the command line, and whether it is unchanged."""
        overrides = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(arguments)
        seeds, extra = None, []
        for override in overrides:
            key = override.get_key_element().removeprefix("++")  # each run's config is to have it
            if key == "seed":
                seeds = _seeds(override)
            elif override.is_sweep_override():
                raise DigrapError(f"{key}: with table= only seed may list several values; rows belong in the table")
            elif key not in ("table", "published", "dry_run", "outputs") and not key.startswith(("hydra", "cluster")):
                extra.append(f"{key}={override.get_value_element_as_str()}")
        table = load_table(self.config.table, seeds, tuple(extra))
        return table, not changes_runs(table, extra) and seeds is None

    def _stages(self, plan: Plan) -> tuple[list[Sequence[JobReturn]], Failures]:
        returns, failed, stages = [], [], Stages(plan)
        for batch in stages:
            able, refused = self._divided([(cell, cell.config) for cell in batch])
            failed += refused
            if not able:
                break  # what waits for these cannot begin either
            busy = self._queued(plan, able)
            self.batch = [cell for cell in able if cell not in busy]
            log.info("%d runs in this stage", len(self.batch))
            own = [word for word in self.config.hydra.overrides.task if word.startswith("outputs=")]
            overrides = [[*cell.overrides, *own] for cell in self.batch]
            self.validate_batch_is_legal(overrides)
            done = sum(map(len, returns))
            results = self.launcher.launch(overrides, initial_job_idx=done) if overrides else []
            returns.append(results)
            for cell, result in zip(self.batch, results, strict=True):
                if result.status == JobStatus.FAILED:
                    error = result._return_value  # the property return_value would raise it
                    busy.append(cell) if isinstance(error, Busy) else failed.append((cell, error))
            for cell in busy:
                stages.again(cell)
            if len(busy) == len(able):
                log.info("%d runs are being made by another process; waiting for them", len(busy))
                time.sleep(POLL_SECONDS)
        if failed and not returns:
            raise _nothing_begins(failed, f"table={plan.table.name}: ")
        return returns, failed

    def _queued(self, plan: Plan, batch: list[Cell]) -> list[Cell]:
        """The runs whose job is in Slurm's queue still, from a sweep that was ended or from scripts/sbatch.py."""
        found = job_states(plan.outputs) if self.slurm else {}
        return [cell for cell in batch if found.get(cell.place, ("", ""))[1] in ACTIVE]

    def _submitted(self, jobs: list[str]) -> None:
        """Note the jobs of the batch for status.py."""
        places = [cell.place for cell in self.batch]
        if places:  # a sweep without a table has none
            Ledger(Path(self.config.hydra.sweep.dir).parent).note(zip(jobs, places, strict=True))
        log.info("submitted to Slurm: %s", f"{jobs[0]} to {jobs[-1]}" if len(jobs) > 1 else jobs[0])


def _by_error(failed: Failures) -> dict[str, list[Any]]:
    """What failed, by the text of its error."""
    found: dict[str, list[Any]] = {}
    for run, error in failed:
        found.setdefault(str(error), []).append(run)
    return found


def _nothing_begins(failed: Failures, where: str = "") -> DigrapError:
    return DigrapError("\n  ".join([f"{where}no run can start:", *_by_error(failed)]))


def _as_given(override: Override) -> dict[str, str]:
    """{word as Hydra writes it: as it was given} for each of its values, say {"smoke=True": "smoke=true"}."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return {f"{key}={override.get_value_element_as_str()}": override.input_line}
    values, text = list(override.sweep_string_iterator()), override.get_value_string()
    plain = not set(text) & set("([{'\"\\")  # else a comma may separate no values
    given = [value.strip() for value in text.split(",")] if plain else values
    return {f"{key}={value}": f"{key}={word}" for value, word in zip(values, given, strict=True)}


def _seeds(override: Override) -> list[int]:
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    try:
        return [int(str(value)) for value in values]  # no part of a number is dropped
    except ValueError:
        raise DigrapError(f"seed={override.value()}: give whole numbers ≥ 0") from None
