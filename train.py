"""Fine-tune: `python train.py [dataset=…] [optim=…] [key=value …]`; `-m` sweeps over comma-separated values.

Alone it trains DiGraP on the miniature DomainNet. The same command again resumes, or says that the run is done.
"""

import os
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come out as they are; door() words them

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from digrap.cli.door import door, in_job  # noqa: E402
from digrap.config.compose import register_resolvers  # noqa: E402
from digrap.core.errors import DigrapError  # noqa: E402

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float:
    """One run; returns its best ID-validation score."""

    def job() -> float:
        if cfg.table is not None:
            raise DigrapError(f"table={cfg.table} is a multirun: python train.py -m table={cfg.table}")
        if cfg.dry_run:
            raise DigrapError("dry_run=true goes with a table: python train.py -m table=… dry_run=true")
        from digrap.engine.run import run

        return run(cfg, Path(HydraConfig.get().runtime.output_dir))

    return in_job(job)


if __name__ == "__main__":
    raise SystemExit(door(main))
