"""Tables as multiruns: `python train.py -m table=demo` runs what is missing of configs/tables/demo.yaml.

Any launcher carries it. Without a table it is Hydra's own sweeper, comma-separated values and all.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from digrap.errors import DigrapError
from digrap.results.spec import load_table

log = logging.getLogger(__name__)


@dataclass
class TableSweeperConf(BasicSweeperConf):
    """BasicSweeper's options."""

    _target_: str = "hydra_plugins.digrap_table_sweeper.table_sweeper.TableSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="table", node=TableSweeperConf, provider="digrap")


class TableSweeper(BasicSweeper):
    """Sweeps over the cells of a table; falls back to BasicSweeper."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every run of the table that has no results.json yet. Other arguments go to every run; `seed=` takes
        the place of the table's seeds."""
        if self.config.table is None:
            return super().sweep(arguments)
        overrides = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(arguments)
        seeds = None
        extra = []
        for override in overrides:
            key = override.get_key_element()
            if key == "seed":
                seeds = _seeds(override)
            elif override.is_sweep_override():
                raise DigrapError(f"{key}: with table= only seed may list several values; rows belong in the table")
            elif key != "table" and not key.startswith("hydra"):
                extra.append(f"{key}={override.get_value_element_as_str()}")
        table = load_table(self.config.table, seeds, tuple(extra))
        cells = table.all_cells()
        outputs = Path(self.config.hydra.sweep.dir).parent
        missing = [cell for cell in cells if not (cell.folder(outputs) / "results.json").exists()]
        log.info("table %s: %d of %d runs are there", table.name, len(cells) - len(missing), len(cells))
        return self._launch([list(cell.overrides) for cell in missing])

    def _launch(self, batch: Sequence[Sequence[str]]) -> list[Any]:
        if not batch:
            return []
        self.validate_batch_is_legal(batch)
        results = self.launcher.launch(batch, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises what a job raised
        return [results]


def _seeds(override: Override) -> list[int]:
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError):
        raise DigrapError(f"seed={override.value()}: give whole numbers ≥ 0") from None
