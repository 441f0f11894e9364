#!/usr/bin/env python
"""Fine-tunes a pretrained LDM on trajectories of environments, also of spaces that it has never seen.

    python examples/finetune.py --model outputs/ldm-nano --dataset outputs/mine --environments Thermostat-v0 \\
        --output_dir outputs/thermostat

Some episodes are held out, and training ends when the loss on them no longer falls. The result is a model like any
other; it still knows the environments of the pretrained one, and plays them worse the longer it was trained on others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ldm_hf import LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import load_model
from ldm_hf.training import (
    EarlyStopping,
    SegmentDataset,
    TrainingRun,
    add_lora,
    freeze_decoder,
    make_accelerator,
    merge_lora,
    option,
    processor_for,
    run_script,
    train,
)
from ldm_hf.trajectories import WindowSampler, open_dataset, weigh_by_return
from ldm_hf.trajectories.streams import Stream

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator  # imports torch, for which `ldm_hf` settles how its threads wait

logger = logging.getLogger(__name__)

HELD_OUT_BATCHES = 4  # batches per measurement of the held-out loss


@dataclass(kw_only=True)
class Arguments(TrainingRun):
    """Options of fine-tuning."""

    model: str = field(metadata={"help": "folder or Hub id of the pretrained LDM"})
    method: str = option(
        "full",
        "what to train: all weights, all but the decoder, or low-rank adapters (LoRA) of the decoder",
        choices=["full", "frozen", "lora"],
    )
    lora_rank: int = option(8, "rank of the adapters of --method lora")
    episodes: int | None = option(None, "use only the first so many episodes of each environment; all by default")
    first_episode: int = option(0, "number of the first of these episodes; those before it are left out")
    kept: float = option(
        0.0, "share of the pretrained weights in the result, an average of the weights before and after training"
    )
    return_temperature: float | None = option(
        None,
        "for logs of mixed quality: imitate episodes in proportion to exp(return / (temperature x standard deviation "
        "of the returns)); 0.5 is a good start",
    )
    held_out: float = option(0.1, "share of episodes held out for early stopping; 0 switches it off")
    evaluation_steps: int = option(50, "updates between two measurements of the held-out loss")
    patience: int = option(6, "measurements without improvement before training stops")
    max_steps: int = option(1000, "most training updates")
    learning_rate: float = option(5e-4, "peak learning rate")
    warmup_steps: int = option(20, "linear warm-up steps")


def split(
    stream: Stream, episodes: int | None, held_out: float, temperature: float | None = None, first: int = 0
) -> tuple[Stream, Stream | None]:
    """Splits episodes into those to train on and the last ones, which are held out; none of fewer than five.

    With a temperature, both parts have their episodes as often as their returns deserve.
    """
    if first:
        stream = stream.part(min(first, stream.num_episodes - 1), stream.num_episodes)
    count = min(episodes or stream.num_episodes, stream.num_episodes)
    held = max(1, round(held_out * count)) if held_out and count >= 5 else 0
    parts = [stream.part(0, count - held), *([stream.part(count - held, count)] if held else [])]
    if temperature is not None:
        deviation = float(stream.episode_returns()[:count].std())
        parts = [weigh_by_return(part, temperature, deviation) for part in parts]
    return parts[0], parts[1] if held else None


def early_stopping(
    accelerator: Accelerator,
    processor: LDMProcessor,
    streams: Mapping[str, Stream],
    args: Arguments,
    segment: int,
) -> EarlyStopping:
    """Early stopping by the loss on held-out streams, encoded with all that is known of their environments."""
    sampler = WindowSampler(
        {name: stream.num_steps for name, stream in streams.items()},
        segment,
        args.batch_size,
        args.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    batches = SegmentDataset(
        streams, processor, sampler, HELD_OUT_BATCHES, unknown_statistics=0, no_task=0, no_reward=0
    )
    return EarlyStopping(batches, args.output_dir, args.evaluation_steps, args.patience)


def main(args: Arguments) -> None:
    """Fine-tunes the model on the dataset and saves it."""
    accelerator = make_accelerator(args)
    names = args.environments or None
    streams = open_dataset(args.dataset, names, args.min_return_percentile, args.test_episodes)
    parts = {
        name: split(stream, args.episodes, args.held_out, args.return_temperature, args.first_episode)
        for name, stream in streams.items()
    }
    trajectories = {name: seen for name, (seen, _) in parts.items()}
    held_out = {name: held for name, (_, held) in parts.items() if held is not None}
    model, known = load_model(args.model)
    processor = processor_for(model.config, trajectories, known)
    before = {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()} if args.kept else {}
    if args.method == "frozen":
        freeze_decoder(model)
    elif args.method == "lora":
        add_lora(model, args.lora_rank)
    if not held_out:
        logger.warning("no episodes are held out: training goes on for all of --max_steps %d", args.max_steps)
    segment = args.segment or model.config.default_segment
    stopping = early_stopping(accelerator, processor, held_out, args, segment) if held_out else None

    def finish(trained: LDMForActionPrediction) -> None:
        if args.method == "lora":
            merge_lora(trained)
        average(trained, before, args.kept)

    train(accelerator, model, processor, trajectories, args, streams.weights, stopping, finish)


def average(model: LDMForActionPrediction, before: Mapping[str, torch.Tensor], kept: float) -> None:
    """Averages a model's weights with those before training (Wortsman et al. 2022, arXiv 2109.01903).

    Args:
        model: the trained model.
        before: weights of before, by name; none: the model stays as it is.
        kept: their share.
    """
    own = model.state_dict()
    for name, weight in before.items():
        own[name].lerp_(weight.to(own[name]), kept)


if __name__ == "__main__":
    run_script(Arguments, main)
