"""A run's folder: reader and writer of its files, but for checkpoints, predictions and metrics in training."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from digrap.config.first_release import renamed
from digrap.core.errors import DigrapError, first_line
from digrap.core.files import check_sha256, inside, write_json, write_text
from digrap.core.json_files import read_bytes
from digrap.runs.predictions import PREDICTIONS
from digrap.runs.results import SCHEMA as SCHEMA
from digrap.runs.results import Results, Validation, read_mapping, read_results
from digrap.runs.results_shape import is_number, variant_faults

KEEP = 2  # checkpoints of a run that is training
NUMBERS = ("wall_s", "total_steps", "trained_per_s", "evaluated_per_s")  # in run.json
CONFIG, FACTS, RESULTS, METRICS = "config.yaml", "run.json", "results.json", "metrics.jsonl"
ERROR, DATA, VARIANTS, TRACE = "error.txt", "data.json", "variants.json", "trace.json"
LOCK, OWNER = ".lock", ".owner.json"
CONFIG_REMEDY = "delete it and run the same train.py command again, which writes it"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CHECKPOINTS, STEP = "checkpoints", "step-"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """outputs/<dataset>/<hash>, whether it exists or not. Errors are DigrapErrors that name the file and the remedy."""

    path: Path

    def __post_init__(self):
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.path / CONFIG

    @property
    def facts_file(self) -> Path:
        """run.json: commit, versions, device, host, the optimizer's implementation, and how long the run took."""
        return self.path / FACTS

    @property
    def results_file(self) -> Path:
        """The scores; written last, so its existence marks the run as done."""
        return self.path / RESULTS

    @property
    def metrics_file(self) -> Path:
        """Losses, validation scores and statistics of layers, one JSON object a line."""
        return self.path / METRICS

    @property
    def error_file(self) -> Path:
        """The error that ended the run, until it is started again."""
        return self.path / ERROR

    @property
    def predictions_file(self) -> Path:
        """The prediction bundle (digrap/runs/predictions.py)."""
        return self.path / PREDICTIONS

    @property
    def data_file(self) -> Path:
        """The dataset's description of itself: protocol, caveats, leakage."""
        return self.path / DATA

    @property
    def variants_file(self) -> Path:
        """Scores of the variants tested so far, while what follows the fit is going on."""
        return self.path / VARIANTS

    @property
    def trace_file(self) -> Path:
        """The profiler's trace of a few training steps."""
        return self.path / TRACE

    @property
    def lock_file(self) -> Path:
        """Held by the process that writes the folder."""
        return self.path / LOCK

    @property
    def owner_file(self) -> Path:
        """Who that process is (runs/lock.py)."""
        return self.path / OWNER

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints and of the weights that were tested."""
        return self.path / CHECKPOINTS

    def write_data(self, about: dict[str, Any]) -> None:
        """Write the dataset's description of itself."""
        write_json(self.data_file, about)

    def variants(self) -> dict[str, Any]:
        """Scores of the variants tested so far. Raises DigrapError where they are damaged."""
        if not self.variants_file.exists():
            return {}
        remedy = "delete it, and the same train.py command tests every variant again"
        plain = read_mapping(self.variants_file, remedy)
        if fault := next(variant_faults(plain), None):
            raise DigrapError(f"{self.variants_file} is damaged ({fault}); {remedy}")
        return plain

    def write_variants(self, scores: dict[str, Any]) -> None:
        """Keep the scores of the variants tested so far."""
        write_json(self.variants_file, scores)

    # --- results ------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether the run is finished. Reads nothing."""
        return self.results_file.exists()

    def results(self) -> Results:
        """The results of a finished run. Raises DigrapError where they are missing, damaged or of another schema."""
        if not self.done():
            raise DigrapError(self._why_no_results())
        return read_results(self.results_file)

    def _why_no_results(self) -> str:
        if self.path.is_file():
            return f"{self.path} is a file; give the folder of a run{_such_as(self.path.parent)}"
        if not self.path.is_dir():
            return (
                f"{self.path} does not exist; give a run folder, as in outputs/minidomainnet/<hash>; python "
                "scripts/runs.py lists them"
            )
        if self.config_file.exists() or self.facts_file.exists():
            return f"{self.path} has no {RESULTS}; finish the run first with the same train.py command"
        if inner := next((path for path in sorted(self.path.glob(f"*/{RESULTS}"))), None):
            return f"{self.path} has runs in it but is not a run itself; give one of them{_such_as(inner.parent)}"
        return f"{self.path} is not a run folder: it has no {RESULTS} and no {CONFIG}; give outputs/<dataset>/<hash>"

    def finished(self) -> Results | None:
        """The results, or None where the run is not finished. Raises DigrapError for damaged ones."""
        return read_results(self.results_file) if self.done() else None

    def write_results(self, plain: dict[str, Any]) -> None:
        """Write results.json, which marks the run as done. Raises DigrapError for results that could not be read."""
        Results.parse(plain, self.results_file)
        write_json(self.results_file, plain)

    def validation(self) -> Validation | None:
        """The ID-validation score, or None where the run is not finished. Raises DigrapError for damaged results."""
        results = self.finished()
        return results and results.validation

    def weights(self) -> Path | None:
        """The weights file that the run was tested with, or None where the run trained nothing.

        Raises DigrapError where the results or the file are missing, the file lies outside of the folder, and where its
        content has changed since.
        """
        results = self.results()
        if results.weights is None:
            return None
        file = inside(self.path, results.weights, f"{self.results_file}: weights")
        remedy = f"delete {self.path} and train the run again"
        if results.weights_sha256 is not None:
            check_sha256(file, results.weights_sha256, remedy)
        elif not file.is_file():
            raise DigrapError(f"{file} is missing; {remedy}")
        else:
            log.warning("%s cannot be checked: the run was made before results.json had its sha256", file)
        return file

    # --- config and facts ---------------------------------------------------------------------------------------

    def config(self) -> DictConfig:
        """The config as the file has it: `checked_config` gives one to build from. Raises DigrapError where it is
        missing or damaged."""
        try:
            cfg = OmegaConf.load(self.config_file)
        except FileNotFoundError as error:
            raise DigrapError(
                f"{self.config_file} is missing; run the same train.py command again, which writes it"
            ) from error
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            reason = first_line(error)
            raise DigrapError(f"{self.config_file} is damaged ({reason}); {CONFIG_REMEDY}") from error
        if not isinstance(cfg, DictConfig):
            raise DigrapError(f"{self.config_file} is damaged (it is not a mapping); {CONFIG_REMEDY}")
        return OmegaConf.create(renamed(OmegaConf.to_container(cfg)))

    def plain_config(self) -> dict[str, Any]:
        """The config as plain values under today's names, fifty times as fast as `config`; {} where it is missing or
        damaged: for lists of runs, nothing is built from it."""
        try:
            plain = yaml.load(self.config_file.read_bytes(), LOADER)
            return renamed(plain) if isinstance(plain, dict) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError):
            return {}

    def write_config(self, cfg: DictConfig) -> None:
        """Write config.yaml."""
        write_text(self.config_file, OmegaConf.to_yaml(cfg))

    def facts(self) -> dict[str, Any]:
        """run.json, without numbers that are none; empty where it is missing or damaged: nothing is decided by it."""
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(facts, dict):
            return {}
        return {key: value for key, value in facts.items() if key not in NUMBERS or is_number(value)}

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write run.json, replacing an earlier one."""
        write_json(self.facts_file, facts)

    def note(self, **values: Any) -> None:
        """Add to run.json."""
        self.write_facts(self.facts() | values)

    # --- error and metrics --------------------------------------------------------------------------------------

    def error(self) -> str | None:
        """The text of the error that ended the run, or None."""
        try:
            return self.error_file.read_text(encoding="utf-8", errors="replace")
        except OSError:  # missing, or removed by a new start in this moment
            return None

    def write_error(self, text: str) -> None:
        """Keep the error that ends the run."""
        write_text(self.error_file, text.rstrip("\n") + "\n")

    def clear_error(self) -> None:
        """Forget the error of an earlier start."""
        self.error_file.unlink(missing_ok=True)

    def metrics(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl; none where it is missing. Raises DigrapError naming a damaged line."""
        if not self.metrics_file.exists():
            return []
        records = []
        for number, line in enumerate(read_bytes(self.metrics_file, "the log of training").splitlines(), 1):
            try:
                record = json.loads(line)
                record["event"]
            except (ValueError, KeyError, TypeError) as error:
                place = f"{self.metrics_file}, line {number},"
                remedy = "delete that line: only figures are drawn from it"
                raise DigrapError(f"{place} is damaged ({error}); {remedy}") from error
            records.append(record)
        return records

    def last_record(self, event: str) -> dict[str, Any] | None:
        """The last whole record of an event while the run is writing; None where there is none or it is damaged."""
        found = None
        try:
            with open(self.metrics_file, encoding="utf-8") as file:
                for line in file:
                    if line.startswith(f'{{"event": "{event}"') and line.endswith("}\n"):
                        found = line
            record = json.loads(found) if found else {}
        except (OSError, ValueError):
            return None
        return record if all(is_number(record.get(key)) for key in ("step", "epoch")) else None

    # --- checkpoints --------------------------------------------------------------------------------------------

    def checkpoint_steps(self) -> list[int]:
        """The optimizer steps of the checkpoints, oldest first."""
        names = [path.name.removeprefix(STEP) for path in self.checkpoints.glob(f"{STEP}*")]
        return sorted(int(name) for name in names if name.isdecimal())

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.checkpoints / f"{STEP}{step:08d}"


def _such_as(run: Path) -> str:
    """`, <folder>` where that is one of a run."""
    return f", {run}" if RunFolder(run).done() else ""
