#!/usr/bin/env python
"""Comparison of memories: windows by layer, convolutions, a recurrent layer, wide windows; and of what makes use of it.

Each is tried as it is, with previous actions hidden in half of the segments, with a fifth of the labels that repeat the
action just executed (*decisions*), and with both.

    python benchmarks/windows.py --work outputs/windows --json outputs/windows.json --seeds 0 1 --minutes 7
    python benchmarks/windows.py --speed --json outputs/windows-speed.json

The first command collects trajectories, trains every arm for the same CPU time of one thread on the same environments,
and lets it play. Runs that the JSON file already holds are not repeated. Columns:

* play: score by held-out episodes (0 random, 1 reference), clipped to [-1, 1] for means; over environments that need
  memory, and over the others.
* wrong: share of discrete action elements that differ from the label in the last tenth of every stream, which is never
  trained on. It is no judge: a model that copies its last action is right there and fails in play.

With ``--model``, arms continue that model (an LDM of three layers with attention) with windows of their own, instead of
new weights: what a longer memory is worth to a model that has been trained already.

The second command measures the CPU time of the arms in turns: a training step of 2,048 transitions, and a step of a
roll-out with full windows, of 1 and 64 lanes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from common import HEAD, Row, model_of, nano_sizes, parser, race, random_segments, show
from encoders import TRANSITIONS, Streams, disagreement, play
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import load_model
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.collection import Plan, collect
from ldm_hf.configuration_ldm import PRESETS, Fields
from ldm_hf.environments import get_spec
from ldm_hf.training import Pretraining, SegmentDataset, cosine_with_warmup, parameter_groups, processor_for
from ldm_hf.training.pretraining import starting_model
from ldm_hf.trajectories import WindowSampler, open_dataset

MEMORY = (
    "popgym-RepeatFirstMedium-v0",
    "popgym-RepeatFirstHard-v0",
    "popgym-ConcentrationEasy-v0",
    "popgym-AutoencodeEasy-v0",
    "bsuite-memory-len-40",
    "bsuite-memory-len-90",
    "MiniGrid-MemoryS11-v0",
)
OTHERS = ("PointMaze_Medium-v3", "Pendulum-v1", "LunarLander-v3", "MiniGrid-DoorKey-8x8-v0")
LEARNING_RATE = 2e-3
CONTINUING_RATE = 1e-3
WARMUP = 50
PER_STEP = ("feedback", "numeric", "raw_numeric", "categorical", "action_numeric")


@dataclass(frozen=True)
class Arm:
    """A kind of memory.

    Args:
        windows: Window of each layer.
        segment: Steps per training segment.
        decoder: Fields of the decoder's configuration, beside sizes.
        hidden: Share of segments whose previous actions are hidden.
        repeated: Share of the labels that repeat the action just executed which is trained on.
    """

    windows: tuple[int, ...]
    segment: int = 512
    decoder: Fields = field(default_factory=lambda: {"model_type": "qwen3", "use_sliding_window": True})
    hidden: float = 0.0
    repeated: float = 1.0

    def make_config(self, width: int) -> LDMConfig:
        """The configuration of its model, with ldm-nano's proportions."""
        sizes: Fields = nano_sizes(width, len(self.windows))
        sizes |= {
            "shared_intermediate_size": sizes["intermediate_size"],
            "mamba_n_heads": 2 * width // HEAD,
            "initializer_range": PRESETS["ldm-nano"]["initializer_range"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        }
        windows: Fields = {"layer_windows": self.windows}
        if len(set(self.windows)) == 1:
            windows = {"window": self.windows[0]}
        return LDMConfig.preset("ldm-nano", backbone_config=sizes | self.decoder, **windows)


FULL, LINEAR, CONV = "full_attention", "linear_attention", "conv"
LFM2: Fields = {
    "model_type": "lfm2",
    "layer_types": [CONV, CONV, FULL],
    "block_auto_adjust_ff_dim": False,
    "conv_L_cache": 4,
}
DELTA: Fields = {
    "model_type": "olmo_hybrid",
    "layer_types": [FULL, FULL, LINEAR],
    "linear_key_head_dim": HEAD,
    "linear_value_head_dim": HEAD,
}
MAMBA: Fields = {
    "model_type": "granitemoehybrid",
    "layer_types": [FULL, FULL, LINEAR],
    "num_local_experts": 0,
    "position_embedding_type": "rope",
    "attention_multiplier": HEAD**-0.5,
    "mamba_d_head": HEAD,
    "mamba_d_state": 32,
    "mamba_chunk_size": 64,
}
MEMORIES = {
    "today, 32 x 3": Arm((32, 32, 32), segment=128),
    "a: 32, 32, 512": Arm((32, 32, 512)),
    "a: 32, 32, 256": Arm((32, 32, 256)),
    "b: two convolutions, 512": Arm((0, 0, 512), decoder=LFM2),
    "c: 32, 32, gated delta rule": Arm((32, 32, 0), decoder=DELTA),
    "c: 32, 32, Mamba 2": Arm((32, 32, 0), decoder=MAMBA),
    "d: 192 x 3": Arm((192, 192, 192)),  # reaches as far back as (a)
}
RECIPES: dict[str, dict[str, float]] = {
    "": {},
    ", hidden actions": {"hidden": 0.5},
    ", decisions": {"repeated": 0.2},
    ", hidden actions, decisions": {"hidden": 0.5, "repeated": 0.2},
}
ARMS = {name + recipe: replace(arm, **shares) for recipe, shares in RECIPES.items() for name, arm in MEMORIES.items()}


def starting(arm: Arm, width: int, continued: str | None) -> LDMForActionPrediction:
    """The model that an arm begins with: new, or a pretrained one with the arm's windows."""
    if continued is None:
        return LDMForActionPrediction(arm.make_config(width))
    if "layer_types" in arm.decoder:
        raise SystemExit("error: --model cannot become another kind of decoder; choose --arms of today's kind")
    return starting_model(Pretraining(dataset="", output_dir="", model=continued, layer_windows=[*arm.windows]))


def train(
    arm: Arm, args: argparse.Namespace, streams: Streams, seed: int
) -> tuple[LDMForActionPrediction, LDMProcessor, int]:
    """A model, its processor and the number of updates after so many minutes of CPU time.

    It is trained on the first nine tenths of every stream.
    """
    torch.manual_seed(seed)
    model = starting(arm, args.width, args.model)
    processor = processor_for(model.config, streams)
    lengths = {name: stream.num_steps * 9 // 10 for name, stream in streams.items()}
    sampler = WindowSampler(lengths, arm.segment, TRANSITIONS // arm.segment, seed)
    batches = SegmentDataset(streams, processor, sampler, 10**6, no_action=arm.hidden, repeated_labels=arm.repeated)
    peak = LEARNING_RATE if args.model is None else CONTINUING_RATE
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=peak, betas=(0.9, 0.98), fused=True)
    model.train()
    started, updates = time.process_time(), 0
    with tqdm(total=100, unit="%", leave=False) as bar:
        for updates, batch in enumerate(DataLoader(batches, batch_size=None), 1):
            share = (time.process_time() - started) / (60 * args.minutes)
            rate = cosine_with_warmup(int(1e6 * share), 0, 10**6) * min(1.0, updates / WARMUP)
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.update(int(100 * share) - bar.n)
            if share >= 1:
                break
    return model.eval(), processor, updates


def run(args: argparse.Namespace, name: str, seed: int) -> dict[str, object]:
    """Trains an arm, unless its model is there already, and lets it play."""
    dataset, arm = args.work / "trajectories", ARMS[name]
    folder = args.work / "models" / f"{name.replace(' ', '_').replace(':', '')}-{seed}"
    streams = open_dataset(dataset, args.environments)
    facts = folder / "run.json"
    if not facts.exists():
        model, processor, updates = train(arm, args, streams, seed)
        for part in (model, processor):
            part.save_pretrained(folder)
        facts.write_text(json.dumps({"updates": updates}))
    model, processor = load_model(folder)
    wrong = disagreement(model.eval(), processor, streams, known=True)
    scores = {env: play(model, processor, dataset, env, True, args.episodes) for env in tqdm(args.environments)}
    return {**json.loads(facts.read_text()), "wrong": wrong, "scores": scores}


def table(runs: dict[str, dict[str, object]]) -> list[Row]:
    """One row per arm."""
    rows: list[Row] = []
    for name in dict.fromkeys(key.rsplit("|", 1)[0] for key in runs):
        seeds = [values for key, values in sorted(runs.items()) if key.rsplit("|", 1)[0] == name]

        def mean(names: tuple[str, ...], seeds: list[dict[str, object]] = seeds) -> tuple[float | None, str]:
            played = [[seed["scores"][name] for name in names if name in seed["scores"]] for seed in seeds]
            by_seed = [float(np.mean(np.clip(scores, -1, 1))) for scores in played if scores]
            return float(np.mean(by_seed)) if by_seed else None, " ".join(f"{value:.2f}" for value in by_seed)

        wrong = [value for seed in seeds for kind, value in seed["wrong"].values() if kind == "wrong"]
        memory, others = mean(MEMORY), mean(OTHERS)
        rows.append(
            {
                "arm": name,
                "updates": float(np.mean([seed["updates"] for seed in seeds])),
                "memory": memory[0],
                "by seed": memory[1],
                "others": others[0],
                "others by seed": others[1],
                "wrong": float(np.mean(wrong)) if wrong else None,
                **{env: mean((env,))[0] for env in seeds[0]["scores"]},
            }
        )
    return rows


def study(args: argparse.Namespace) -> None:
    """Collects, trains, plays, and writes the table after every run."""
    torch.set_num_threads(args.threads)
    plan = Plan(str(args.work / "trajectories"), str(args.references), steps=args.steps)
    for error in collect([get_spec(name) for name in args.environments], plan).values():
        raise SystemExit(f"error: {error}")
    kept = json.loads(args.json.read_text())["runs"] if args.json and args.json.exists() else {}
    tasks = [(name, seed) for seed in args.seeds for name in args.arms if f"{name}|{seed}" not in kept]
    start = f"width {args.width}" if args.model is None else f"continued from {args.model}"
    title = f"Memory, {start}, {args.minutes:g} CPU minutes of training, {args.episodes} episodes"
    for name, seed in tqdm(tasks, unit="run"):
        kept[f"{name}|{seed}"] = run(args, name, seed)
        show(title, table(kept), args)
        if args.json:
            args.json.write_text(json.dumps(json.loads(args.json.read_text()) | {"runs": kept}, indent=1) + "\n")


def training_step(arm: Arm, width: int) -> Callable[[], object]:
    """A training step of an arm with update."""
    model = model_of(arm.make_config(width), "cpu").train()
    batch = random_segments(model.config, TRANSITIONS // arm.segment, arm.segment)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def roll_out_step(arm: Arm, width: int, lanes: int) -> Callable[[], object]:
    """A step of a roll-out of an arm, with full windows."""
    model = model_of(arm.make_config(width), "cpu")
    segment = random_segments(model.config, lanes, 2, labels=False)
    inputs = {name: value[:, -1:] if name in PER_STEP else value for name, value in segment.items()}
    cache = RingBufferCache.from_config(model.config, lanes)
    step = torch.inference_mode()(lambda: model(**inputs, cache=cache))
    step()
    cache.lengths += cache.window
    return step


def speed(args: argparse.Namespace) -> None:
    """Times a step of every arm in turns, as a share of today's."""
    torch.set_num_threads(args.threads)
    arms = {name: arm for name, arm in MEMORIES.items() if name in args.arms}
    first, width = next(iter(arms)), args.width
    kinds: dict[str, Callable[[Arm], Callable[[], object]]] = {
        "training": lambda arm: training_step(arm, width),
        "1 lane": lambda arm: roll_out_step(arm, width, 1),
        "64 lanes": lambda arm: roll_out_step(arm, width, 64),
    }
    columns = {
        kind: race({name: make(arm) for name, arm in arms.items()}, args.seconds, rounds=9, own_time=True)
        for kind, make in kinds.items()
    }
    rows: list[Row] = [
        {
            "arm": name,
            "parameters, M": sum(p.numel() for p in model_of(arm.make_config(width), "cpu").parameters()) / 1e6,
            **{f"{kind}, ms": 1e3 * times[name] for kind, times in columns.items()},
            **{f"{kind}, speed": times[first] / times[name] for kind, times in columns.items()},
        }
        for name, arm in arms.items()
    ]
    show(f"Speed of memories beside {first!r}, {TRANSITIONS} transitions a training step", rows, args)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--work", type=Path, default=Path("outputs/windows"), help="folder for trajectories and models")
    made.add_argument(
        "--references", type=Path, default=Path("outputs/references"), help="folder of learnt references"
    )
    made.add_argument("--environments", nargs="+", default=[*MEMORY, *OTHERS], help="environments")
    made.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of training")
    made.add_argument("--model", help="folder of a pretrained LDM that the arms continue")
    made.add_argument("--width", type=int, default=192, help="hidden size; ldm-nano's by default")
    made.add_argument("--minutes", type=float, default=7, help="CPU minutes of training for each run")
    made.add_argument("--steps", type=int, default=40_000, help="steps to collect in each environment")
    made.add_argument("--episodes", type=int, default=20, help="episodes to judge by")
    made.add_argument("--speed", action="store_true", help="measure speed instead")
    made.add_argument("--seconds", type=float, default=10, help="with --speed: measuring time of each contender")
    args = made.parse_args()
    (speed if args.speed else study)(args)


if __name__ == "__main__":
    main()
