"""The options that all training scripts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import ArgumentError

Value = TypeVar("Value")

SHARES = ("unknown_statistics", "disguised_share", "hide_previous_actions", "episode_beginnings", "repeated_labels")
"""Options that say how many segments or labels are altered or chosen."""


def option(default: Value, text: str, **metadata: object) -> Value:
    """A field of a dataclass with its help text."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(kw_only=True)
class TrainingRun:
    """Data, duration and settings of a training run.

    The seed, the data, the model and the global batch (``batch_size`` times ``gradient_accumulation_steps`` times
    processes) determine the losses: on CPUs, runs that agree in these have the same losses with any number of
    processes, up to rounding in sums.
    """

    dataset: str = field(
        metadata={"help": "folder or Hub id of a dataset, or a mixture file (.yaml)", "aliases": ["--mixture"]}
    )
    output_dir: str = field(metadata={"help": "folder for checkpoints and the trained model"})
    environments: list[str] = field(
        default_factory=list, metadata={"help": "names of the environments to train on; by default all of the dataset"}
    )
    min_return_percentile: float | None = option(
        None, "leave out episodes whose return is below this percentile of their environment's"
    )
    test_episodes: str | None = option(
        None,
        "leave out episodes for `ldm evaluate --logs`: a share such as 0.2 (the last ones of every entity), or names "
        "of entities, separated by commas",
    )
    max_steps: int = option(1000, "number of updates")
    segment: int | None = option(
        None, "steps per segment; by default four (shortest) windows of the model, and no less than its longest"
    )
    batch_size: int = option(32, "segments per process and micro-batch")
    gradient_accumulation_steps: int = option(1, "micro-batches per update")
    learning_rate: float = option(2e-3, "peak learning rate")
    weight_decay: float = option(0.05, "weight decay of matrices")
    layer_decay: float = option(
        1.0, "share of the learning rate from one layer to the next below it, from the head down to the stems"
    )
    warmup_steps: int = option(100, "linear warm-up steps")
    max_grad_norm: float = option(1.0, "norm to which gradients are clipped")
    seed: int = option(0, "random seed of the data order and of new weights")
    unknown_statistics: float = option(0.3, "share of segments standardised without stored statistics")
    disguised_share: float = option(
        0.0, "share of segments whose actions, coordinates, symbols and letters are exchanged, so that history counts"
    )
    hide_previous_actions: float = option(0.0, "share of segments whose previous actions are hidden")
    episode_beginnings: float = option(
        0.0, "share of segments that begin where an episode does, as if it were an agent's first, instead of anywhere"
    )
    repeated_labels: float = option(
        1.0, "share of the labels that repeat the action just executed which is trained on; less: decisions count more"
    )
    ema_decay: float = option(
        0.0, "decay of the exponential moving average of the weights that is saved; 0: save the last weights"
    )
    mixed_precision: str = option(
        "auto", "mixed precision; auto: bf16 on GPUs that have it", choices=["auto", "no", "bf16"]
    )
    gradient_checkpointing: bool = option(False, "recompute the decoder's activations instead of storing them")
    compile: bool = option(False, "compile decoder and action head (on CPUs this needs a C++ compiler)")
    cpu_threads: int | None = option(
        None, "CPU threads per process; by default its share of the cores beside what else runs as it begins"
    )
    num_workers: int | None = option(None, "data loader processes; by default none on CPUs, 4 per GPU")
    max_minutes: float | None = option(
        None, "time limit in minutes: training stops and saves; the learning rate schedule adapts to it"
    )
    checkpointing_steps: int = option(500, "updates between two checkpoints; 0: no checkpoints")
    keep_checkpoints: int = option(2, "number of checkpoints to keep; older ones are deleted")
    resume_from_checkpoint: str | None = option(None, "checkpoint folder, or 'latest' for the newest in output_dir")
    report_to: str = option("none", "experiment tracker", choices=["none", "trackio", "tensorboard", "wandb"])
    logging_steps: int = option(50, "updates between two lines of the log")
    dry_run: bool = option(False, "report size, memory, speed and time after two updates, and write nothing")

    def check(self) -> None:
        """Checks the shares of segments and labels.

        Raises:
            ArgumentError: if one is not from 0 to 1.
        """
        for name in SHARES:
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ArgumentError(f"--{name} is {share:g}; give a share from 0 to 1, such as 0.2")
