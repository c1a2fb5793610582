"""Golden runs: what every method makes of the small miniature, as it was when this was first recorded.

`python -m tests.engine.golden` records anew; do that only where a change of numbers is meant, and say so in the commit.
"""

import hashlib
import json
import platform
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from digrap.config.compose import compose
from digrap.core.paths import CONFIGS
from digrap.models.mini_resnet import WEIGHTS
from digrap.optim.kernels import build

FILE = Path(__file__).with_suffix(".json")
OPTIONS = {"tpgm_once": ["optim.max_iters=3"], "wise_ft": ["optim.curve=[]"]}
METHODS = sorted({path.stem for path in (CONFIGS / "optim").glob("[!_]*.yaml")} - {"file"})
CUT = ["trainer.epochs=1", "trainer.micro_batch=16"]


def overrides(method):
    return [f"optim={method}", *OPTIONS.get(method, []), *CUT]


def machine():
    """What decides the bits of a float: the same code on another machine differs in the last ones."""
    cpu = torch.backends.cpu.get_cpu_capability()
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    model = names[0].split(": ")[1] if names else platform.processor()
    return {"torch": torch.__version__, "cpu": cpu, "model": model, "compiler": _compiler()}


def _compiler():
    """What compiled the kernels of the optimizers; None where torch operations take their place."""
    if build.library("float") is None:
        return None
    said = subprocess.run([build._compiler(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def _cpuinfo():
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


def record(folder):
    """Scores of a finished run and, of every tensor that left its pre-trained value, the digest and the distance."""
    result, before = json.loads((folder / "results.json").read_text()), load_file(WEIGHTS)
    after = load_file(folder / result["weights"]) if result["weights"] else {}
    moved = {name: value for name, value in sorted(after.items()) if not torch.equal(value, before[name])}
    return {
        "scores": {split: scores["accuracy"] for split, scores in result["scores"].items()},
        "digests": {name: hashlib.sha256(value.numpy().tobytes()).hexdigest()[:12] for name, value in moved.items()},
        "distances": {name: float((value - before[name]).double().norm()) for name, value in moved.items()},
    }


def main():
    from digrap.engine import run as engine
    from tests.conftest import SMALL

    found = {}
    with tempfile.TemporaryDirectory() as root:
        for method in METHODS:
            folder = Path(root) / "runs" / method
            engine.run(compose([*SMALL, f"data_root={root}/data", *overrides(method)]), folder)
            found[method] = record(folder)
    FILE.write_text(json.dumps({"machine": machine(), "methods": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
