"""Training: batches, the loop, checkpoints, and what several processes need."""

from .arguments import TrainingRun, option
from .batches import SegmentDataset, processor_for
from .early_stopping import EarlyStopping
from .launching import make_accelerator, readable_errors, run_script
from .loop import train
from .lora import add_lora, freeze_decoder, merge_lora
from .meter import Meter
from .optimisation import best_mixed_precision, cosine_with_warmup, parameter_groups
from .pretraining import Pretraining, pretrain

__all__ = [
    "EarlyStopping",
    "Meter",
    "Pretraining",
    "SegmentDataset",
    "TrainingRun",
    "add_lora",
    "best_mixed_precision",
    "cosine_with_warmup",
    "freeze_decoder",
    "make_accelerator",
    "merge_lora",
    "option",
    "parameter_groups",
    "pretrain",
    "processor_for",
    "readable_errors",
    "run_script",
    "train",
]
