"""DiGraP from a LightningModule's `configure_optimizers`.

    python examples/lightning_module.py      needs lightning: pip install lightning

Lightning calls this method once the weights are on their device. A resumed `fit(ckpt_path=…)` has loaded the fine-tuned
weights by then, but the optimizer state in the checkpoint restores the pre-trained anchors.
"""

import tempfile

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from digrap.optim import DiGraP, param_groups


class Classifier(L.LightningModule):
    """A pre-trained body (here a random one) and a fresh head."""

    def __init__(self, lr: float = 3e-3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
        self.head = nn.Linear(32, 4)
        self.lr = lr
        self.losses: list[float] = []

    def training_step(self, batch, _):
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self.head(self.body(inputs)), labels)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return DiGraP(param_groups(self, unanchored=["head"]), lr=self.lr)


def make_data() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(128, 16, generator=generator), torch.randint(4, (128,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), batch_size=32)


def make_trainer(folder: str, epochs: int) -> L.Trainer:
    """A trainer without progress bar, logs or checkpoints."""
    return L.Trainer(
        max_epochs=epochs, devices=1, default_root_dir=folder, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def main(epochs: int = 15) -> dict:
    """Train. Returns the losses and ω by parameter."""
    torch.manual_seed(0)
    module = Classifier()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, epochs)
        trainer.fit(module, make_data())
    report = trainer.optimizers[0].omega_report()
    print(f"loss {module.losses[0]:.3f} → {module.losses[-1]:.3f}; ω of {len(report)} parameters")
    return {"losses": module.losses, "report": report}


if __name__ == "__main__":
    main()
