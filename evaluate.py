"""Score a finished run or a bare backbone: `python evaluate.py run=outputs/minidomainnet/<hash> [split=sketch]`.

With a dataset, `run=… dataset=folder dataset.root=/my/pictures`, the run is scored on those data.
"""

import os
import sys

from digrap.cli.listing import answered

if __name__ == "__main__" and (code := answered("evaluate", sys.argv[1:])) is not None:
    raise SystemExit(code)  # before Hydra, whose import takes a second
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come out as they are; door() words them

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from digrap.cli.door import hydra_door, in_job, names_other_data  # noqa: E402
from digrap.config.compose import register_resolvers  # noqa: E402

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Print the scores as JSON; with out=FILE write them too."""
    from digrap.engine.launch import score
    from digrap.engine.rescore import BESIDE

    def job() -> None:
        score(cfg, names_other_data(cfg, BESIDE))

    in_job(job)


if __name__ == "__main__":
    raise SystemExit(hydra_door(main))
