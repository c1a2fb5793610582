"""What tests of runs share: a run's results and weights, and an interruption."""

import json

from safetensors.torch import load_file

from digrap.engine.fit import Fit


def results(folder):
    return json.loads((folder / "results.json").read_text())


def weights(folder):
    return load_file(folder / results(folder)["weights"])


def crash_at(monkeypatch, step):
    take = Fit._step

    def crashing(self, batches):
        if self.position.step == step:
            raise KeyboardInterrupt
        take(self, batches)

    monkeypatch.setattr(Fit, "_step", crashing)
