"""The training losses since the last line of metrics: they stay on the device until that is written."""

from __future__ import annotations

import torch
from accelerate import Accelerator


class Losses:
    """One scalar a step. Means over all processes are made of several at once, by all processes at the same steps."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.values: list[torch.Tensor] = []
        self.shared = 0  # how many of them are means over all processes already

    def __len__(self) -> int:
        return len(self.values)

    def add(self, loss: torch.Tensor) -> None:
        """Keep this process's loss of a step."""
        self.values.append(loss)

    def share(self) -> None:
        """Make every loss the mean over all processes."""
        if self.accelerator.num_processes > 1 and len(self.values) > self.shared:
            means = self.accelerator.reduce(torch.stack(self.values[self.shared :]), reduction="mean")
            self.values[self.shared :] = means.unbind()
        self.shared = len(self.values)

    def take(self) -> list[float]:
        """The means, oldest first; they are forgotten."""
        self.share()
        values = torch.stack(self.values).tolist()
        self.values, self.shared = [], 0
        return values

    def finite(self) -> bool:
        """Whether all are finite."""
        return not self.values or bool(torch.stack(self.values).isfinite().all())

    def saved(self) -> list[torch.Tensor]:
        """The means on the CPU, as a checkpoint has them."""
        self.share()
        return [loss.cpu() for loss in self.values]

    def put_back(self, saved: list[torch.Tensor]) -> None:
        """Continue with the losses of a checkpoint."""
        self.values = [loss.to(self.accelerator.device) for loss in saved]
        self.shared = len(self.values)
