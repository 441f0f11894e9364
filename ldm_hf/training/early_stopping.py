"""Ends a run when the loss on held-out data no longer improves, and keeps the best weights."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import load_file, save_file

from ..modeling_ldm import LDMForActionPrediction
from ..utils.files import unfinished_file, writing
from .batches import SegmentDataset
from .checkpoints import Progress


class EarlyStopping:
    """Measures the loss on held-out batches at regular intervals.

    Args:
        batches: held-out batches; all of them are measured every time.
        folder: folder that keeps the best weights until the end of the run.
        every: updates between two measurements.
        patience: number of measurements without improvement after which the run ends.
    """

    def __init__(self, batches: SegmentDataset, folder: str | Path, every: int, patience: int) -> None:
        self.batches, self.every, self.patience = batches, every, patience
        self.loss: float | None = None  # measured since the last line of the log
        self._best = Path(folder) / "best.safetensors"

    def __call__(self, accelerator: Accelerator, model: torch.nn.Module, progress: Progress) -> bool:
        """Measures the loss if it is time to; returns whether the run should end."""
        if progress.step % self.every:
            return False
        loss = self.loss = self._measure(accelerator, model)
        if progress.best is None or loss < progress.best[0]:
            progress.best = (loss, progress.step)
            self._keep(accelerator, model)
        return progress.step - progress.best[1] >= self.patience * self.every

    @torch.no_grad()
    def _measure(self, accelerator: Accelerator, model: torch.nn.Module) -> float:
        model.eval()
        losses = torch.cat(
            [model(**self.batches[index].to(accelerator.device)).row_losses for index in range(len(self.batches))]
        )
        model.train()
        return float(accelerator.reduce(losses.nanmean(), "mean").item())

    def _keep(self, accelerator: Accelerator, model: torch.nn.Module) -> None:
        bare = accelerator.unwrap_model(model)
        # every process has a part of a sharded model
        sharded = accelerator.distributed_type == DistributedType.FSDP
        weights = accelerator.get_state_dict(model) if sharded else dict(bare.named_parameters())
        if accelerator.is_main_process:
            trained = [name for name, parameter in bare.named_parameters() if parameter.requires_grad]
            with writing(self._best), unfinished_file(self._best) as unfinished:
                save_file({name: weights[name].detach().contiguous() for name in trained}, unfinished)

    def restore(self, model: LDMForActionPrediction) -> None:
        """Loads the best weights and deletes their file."""
        if self._best.exists():
            model.load_state_dict(load_file(self._best), strict=False)
            self._best.unlink()
