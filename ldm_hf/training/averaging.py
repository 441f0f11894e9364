"""Exponential moving average of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import ArgumentError, LDMError
from ..modeling_ldm import LDMForActionPrediction

FILE = "average.safetensors"  # of a checkpoint


class MovingAverage:
    """The average of a model's weights over its last updates, saved in and loaded from the checkpoints of its run.

    After ``n`` updates the decay is ``(1 + n) / (10 + n)`` until it reaches its value, as in TensorFlow's
    ExponentialMovingAverage; the first weights would else take part for thousands of updates.

    Args:
        accelerator: accelerator of this process.
        model: model in training, before the accelerator prepares it.
        decay: share of the average that an update keeps, above 0 and below 1.

    Raises:
        ArgumentError: if the decay is out of its range.
        LDMError: if the weights are sharded.
    """

    def __init__(self, accelerator: Accelerator, model: LDMForActionPrediction, decay: float) -> None:
        if not 0 < decay < 1:
            raise ArgumentError(f"--ema_decay is {decay}; give a number above 0 and below 1, such as 0.999")
        if accelerator.distributed_type == DistributedType.FSDP:
            raise LDMError("--ema_decay averages whole models, and FSDP shards them; leave one of the two out.")
        self._accelerator, self._model = accelerator, model

        def average(averaged: Any, current: Any, count: torch.Tensor | int) -> None:
            done = int(count)
            get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(averaged, current, count)

        self._averaged = AveragedModel(model, accelerator.device, multi_avg_fn=average)
        accelerator.register_save_state_pre_hook(self._save)
        accelerator.register_load_state_pre_hook(self._load)

    @property
    def module(self) -> LDMForActionPrediction:
        """The model with the averaged weights."""
        return cast(LDMForActionPrediction, self._averaged.module)

    def update(self) -> None:
        """Takes in the weights after an update."""
        self._averaged.update_parameters(self._model)

    def _save(self, models: object, weights: object, folder: str) -> None:
        if self._accelerator.is_main_process:
            save_file(self._averaged.state_dict(), Path(folder) / FILE)

    def _load(self, models: object, folder: str) -> None:
        self._averaged.load_state_dict(load_file(Path(folder) / FILE))
