"""Fine-tune: `python train.py [dataset=…] [optim=…] [key=value …]`; `-m` sweeps over comma-separated values.

Alone it trains DiGraP on the miniature DomainNet; the same command again resumes. `--list` prints every choice.
"""

import os
import sys
from pathlib import Path

from digrap.cli.listing import answered

if __name__ == "__main__" and (code := answered("train", sys.argv[1:])) is not None:
    raise SystemExit(code)  # before Hydra, whose import takes a second
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come out as they are; door() words them

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from digrap.cli.door import check_single, hydra_door, in_job  # noqa: E402
from digrap.config.compose import register_resolvers  # noqa: E402

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float:
    """One run; returns its best ID-validation score."""

    def job() -> float:
        check_single(cfg)
        from digrap.engine.launch import train  # torch: neither --help nor a wrong call needs it

        return train(cfg, Path(HydraConfig.get().runtime.output_dir))

    return in_job(job, cfg)


if __name__ == "__main__":
    raise SystemExit(hydra_door(main))
