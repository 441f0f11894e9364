#!/usr/bin/env python
"""Comparison of encoders: variants of one small model, trained for the same budget on the same environments.

    python benchmarks/encoders.py --dataset outputs/trajectories --json outputs/encoders.json --seeds 0 1 --jobs 2

A variant changes one thing of the base. Every run has one thread and the same number of transitions (`two tokens`: 0.6
of them, since benchmarks/training.py measured 1.6 to 1.75 times the transitions of that layout). Runs that the JSON
file already holds are not repeated. Columns, means over environments and seeds:

* score: 0 random, 1 reference, clipped to [-1, 1] for the mean, from ten episodes on held-out seeds; once with the
  environment known to the model, and once unknown (no stored statistics).
* wrong: share of discrete action elements that differ from the label in the last tenth of every stream, which is never
  trained on.
* off: distance of continuous elements from the label there, in hundredths of the range of the action.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import encoder_parts as parts
import numpy as np
import torch
from common import Row, parser, show
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import LDMAgent
from ldm_hf.evaluation.evaluating import catalogue_target
from ldm_hf.rollouts import HELD_OUT_SEED, AgentPolicy, normalised_score
from ldm_hf.rollouts.measuring import rollout
from ldm_hf.training import SegmentDataset, cosine_with_warmup, parameter_groups, processor_for
from ldm_hf.trajectories import WindowSampler, open_dataset
from ldm_hf.trajectories.streams import Stream
from ldm_hf.utils.parallel import run_tasks

ENVIRONMENTS = [
    "Pendulum-v1",
    "LunarLander-v3-short",
    "LunarLanderContinuous-v3-short",
    "InvertedPendulum-v5-short",
    "nasim-tiny",
    "BaseStock-v0",
    "popgym-RepeatFirstEasy-v0",
    "metaworld-reach-v3",
    "metaworld-window-close-v3",
]
TRANSITIONS = 2048  # per update: 16 segments of 128 steps
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Variant:
    """One change of the base.

    Args:
        patches: Make context managers, which are entered for the duration of a run.
        config: Settings of `LDMConfig`.
        window: Attention window in steps.
        segment: Steps per training segment.
        unknown_statistics: Share of segments without stored statistics.
        max_past: Most steps before a segment that running statistics count.
        updates: Share of the budget of updates.
        test_unknown: Whether to play also with the environment unknown to the model.
    """

    patches: tuple[Callable[[], AbstractContextManager[object]], ...] = ()
    config: dict[str, int] = field(default_factory=dict)
    window: int = 32
    segment: int = 128
    unknown_statistics: float = 0.3
    max_past: int = 4096
    updates: float = 1.0
    test_unknown: bool = False


Streams = Mapping[str, Stream]


VARIANTS = {
    "base": Variant(test_unknown=True),
    # --- numbers of observations
    "running statistics fade in": Variant((lambda: parts.running(lambda n: n / (n + 64)),), test_unknown=True),
    "nothing instead of running statistics": Variant((lambda: parts.running(lambda n: 0 * n),), test_unknown=True),
    "waves bent": Variant((parts.bent_waves,), test_unknown=True),
    "no Fourier features": Variant((parts.no_fourier,), test_unknown=True),
    "no Fourier features, 0.1 unknown, T steps": Variant(
        (parts.no_fourier,), unknown_statistics=0.1, max_past=3, test_unknown=True
    ),
    "Fourier features only": Variant((parts.nothing_standardised,), unknown_statistics=0, test_unknown=True),
    "Fourier features of standardised numbers": Variant((parts.fourier_of_standardised,), test_unknown=True),
    "eight octaves": Variant((lambda: parts.octaves(*range(-2, 6)),), test_unknown=True),
    "stored statistics only": Variant(unknown_statistics=0, test_unknown=True),
    # --- head, tokens, window
    "bins": Variant((parts.bins,), test_unknown=True),
    "absolute errors": Variant((lambda: parts.absolute_error(1),)),
    "absolute errors weigh three times": Variant((lambda: parts.absolute_error(3),)),
    "squared errors weigh ten times": Variant((lambda: parts.squared_weight(50),)),
    "squared errors weigh a fifth": Variant((lambda: parts.squared_weight(1),)),
    "two tokens, equal arithmetic": Variant((parts.two_tokens,), window=64, updates=0.6),
    "W 64, T 256": Variant(window=64, segment=256),
    "two-hot bins": Variant((parts.two_hot,)),
    "next observation 0.05": Variant((lambda: parts.next_observation(0.05),)),
    "no signature": Variant((parts.no_signature,)),
    "task text summed": Variant(config={"scaled_task": False}, test_unknown=True),
    "255 bins": Variant((parts.bins,), config={"num_choices": 255}),
    "51 bins": Variant((parts.bins,), config={"num_choices": 51}),
    "mean of all bins": Variant((lambda: parts.bins(neighbours=1000),), test_unknown=True),
    "mode of the bins": Variant((lambda: parts.bins(neighbours=0),)),
    # --- less decisive
    "running statistics only": Variant(unknown_statistics=1, test_unknown=True),
    "0.1 unknown": Variant(unknown_statistics=0.1, test_unknown=True),
    "next observation 0.005": Variant((lambda: parts.next_observation(0.005),)),
    "one scale": Variant((parts.one_scale,)),
    "three scales": Variant((parts.three_scales,)),
    "T 64": Variant(segment=64),
    "W 16, T 64": Variant(window=16, segment=64),
    "129 bins": Variant((parts.bins,), config={"num_choices": 129}),
}


def train(variant: Variant, streams: Streams, seed: int, updates: int) -> tuple[parts.LDM, LDMProcessor]:
    """A model and its processor after ``updates`` steps on the first nine tenths of every stream."""
    torch.manual_seed(seed)
    config = LDMConfig.preset("ldm-nano", window=variant.window, **variant.config)
    model, processor = parts.LDM(config), processor_for(config, streams)
    rows = TRANSITIONS // variant.segment
    lengths = {name: stream.num_steps * 9 // 10 for name, stream in streams.items()}
    sampler = WindowSampler(lengths, variant.segment, rows, seed)
    batches = SegmentDataset(
        streams, processor, sampler, updates, variant.unknown_statistics, max_past=variant.max_past
    )
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=LEARNING_RATE, betas=(0.9, 0.98), fused=True)
    model.train()
    for step, batch in enumerate(DataLoader(batches, batch_size=None)):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_with_warmup(step, 50, updates)
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), processor


@torch.inference_mode()
def disagreement(
    model: LDMForActionPrediction, processor: LDMProcessor, streams: Streams, known: bool
) -> dict[str, tuple[str, float]]:
    """How far the greedy action is from the label in the last tenth of every stream, after 64 steps of history."""
    measured, past, segment = {}, 1000, 512
    for name, stream in streams.items():
        layout = processor.layout(name)
        start = stream.num_steps * 9 // 10
        rows = [
            layout.encode_segment(stream.slice(at - past, at + segment), past=past, known_statistics=known)
            for at in range(start, stream.num_steps - segment, segment)
        ]
        batch = processor(rows)
        labels = batch.pop("labels").numpy()[:, 64:]
        output, elements = model(**batch), len(layout.actions.sizes)

        def by_step(values: np.ndarray, lanes: int = len(rows), elements: int = elements) -> np.ndarray:
            columns = values.reshape(lanes, elements, *values.shape[1:]).swapaxes(1, 2)
            return columns.reshape(-1, *columns.shape[2:])

        predicted = (output.logits, output.means, output.deviations)
        chosen = layout.actions.choose(*(by_step(values.numpy()[:, 64:]) for values in predicted))
        true = by_step(labels)
        continuous = layout.actions.continuous
        if continuous.all():
            measured[name] = ("off", 100 * float(np.abs(chosen - true).mean()) / 2)
        elif not continuous.any():
            measured[name] = ("wrong", float((chosen != true).mean()))
    return measured


def play(
    model: LDMForActionPrediction, processor: LDMProcessor, dataset: Path, name: str, known: bool, episodes: int = 10
) -> float:
    """Mean normalised score of some episodes."""
    target = catalogue_target(name, "")
    policy = AgentPolicy(
        lambda spaces, lanes: LDMAgent(
            model, processor, spaces, environment=name if known else None, task=target.task, num_envs=lanes
        )
    )
    returns = rollout(target.make_env, policy, episodes, HELD_OUT_SEED, 10, name)
    scores = json.loads((dataset / name / "environment.json").read_text(encoding="utf-8"))["scores"]
    return normalised_score(returns.mean(), scores["random"]["mean"], scores["reference"]["mean"], name)


def run(name: str, seed: int, dataset: Path, updates: int, environments: list[str]) -> dict[str, object]:
    """Trains and measures one variant with one seed."""
    torch.set_num_threads(1)
    variant = VARIANTS[name]
    streams = open_dataset(dataset, environments)
    started = time.perf_counter()
    with ExitStack() as stack:
        for make in variant.patches:
            stack.enter_context(make())
        model, processor = train(variant, streams, seed, max(1, int(updates * variant.updates)))
        result: dict[str, object] = {"training_seconds": time.perf_counter() - started}
        for known in (True, False) if variant.test_unknown else (True,):
            label = "known" if known else "unknown"
            result[f"disagreement, {label}"] = disagreement(model, processor, streams, known)
            result[f"scores, {label}"] = {env: play(model, processor, dataset, env, known) for env in environments}
    return result


def table(runs: dict[str, dict[str, object]]) -> list[Row]:
    """One row per variant."""
    rows = []
    for name in dict.fromkeys(key.rsplit("|", 1)[0] for key in runs):
        seeds = [values for key, values in sorted(runs.items()) if key.rsplit("|", 1)[0] == name]
        per_seed = [np.mean(np.clip(list(s["scores, known"].values()), -1, 1)) for s in seeds]
        unknown = [
            np.mean(np.clip(list(s["scores, unknown"].values()), -1, 1)) for s in seeds if "scores, unknown" in s
        ]
        distances = {
            kind: float(np.mean(values)) if values else None
            for kind in ("wrong", "off")
            for values in [[v for s in seeds for found, v in s["disagreement, known"].values() if found == kind]]
        }
        rows.append(
            {
                "variant": name,
                "seeds": len(seeds),
                "score": float(np.mean(per_seed)),
                "by seed": " ".join(f"{value:.2f}" for value in per_seed),
                "unknown": float(np.mean(unknown)) if unknown else None,
                "unknown by seed": " ".join(f"{value:.2f}" for value in unknown),
                **distances,
            }
        )
    return rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--dataset", type=Path, required=True, help="folder of trajectories")
    made.add_argument("--updates", type=int, default=450, help=f"training steps of {TRANSITIONS} transitions")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of training")
    made.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    made.add_argument("--environments", nargs="+", default=ENVIRONMENTS, help="environments")
    made.add_argument("--jobs", type=int, default=1, help="number of processes")
    args = made.parse_args()
    kept = json.loads(args.json.read_text())["runs"] if args.json and args.json.exists() else {}
    tasks = {
        f"{name}|{seed}": (name, seed, args.dataset, args.updates, args.environments)
        for name in args.variants
        for seed in args.seeds
        if f"{name}|{seed}" not in kept
    }
    title = f"Encoders: {args.updates} updates of {TRANSITIONS} transitions, {len(args.environments)} environments"
    for key, outcome in tqdm(run_tasks(run, tasks, args.jobs), total=len(tasks), unit="run"):
        if isinstance(outcome, Exception):
            print(f"{key}: {outcome}")
            continue
        kept[key] = outcome
        show(title, table(kept), args)
        if args.json:
            args.json.write_text(json.dumps(json.loads(args.json.read_text()) | {"runs": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
