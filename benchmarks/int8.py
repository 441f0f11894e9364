#!/usr/bin/env python
"""What int8 weights change: scores of a pretrained model as it is and with an int8 backbone, by the code of `ldm evaluate`.

    python benchmarks/int8.py --model outputs/ldm-nano --dataset outputs/trajectories --json outputs/benchmarks/int8.json

How much time they save stands in the table of benchmarks/rollout.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import parser, quantised, show
from tqdm import tqdm

from ldm_hf.agent import load_model
from ldm_hf.evaluation.evaluating import Measuring, catalogue_target, evaluate_environment
from ldm_hf.rollouts import HELD_OUT_SEED
from ldm_hf.trajectories.schema import EnvironmentInfo


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", required=True, help="folder or Hub id")
    made.add_argument(
        "--dataset", type=Path, help="of trajectories: takes the scores of random and reference from there"
    )
    made.add_argument("--references", type=Path, default=Path("outputs/references"))
    made.add_argument("--ids", nargs="+", help="environments; by default all that the model knows")
    made.add_argument("--episodes", type=int, default=20)
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    model, processor = load_model(args.model)
    small = quantised(model)
    measuring = Measuring(args.episodes, HELD_OUT_SEED, num_envs=10, progress=False)
    rows = []
    for name in tqdm(args.ids or list(processor.environments), desc="environments"):
        target = catalogue_target(name, args.references)
        scores = EnvironmentInfo.load(args.dataset / name).scores if args.dataset else {}
        fp32 = evaluate_environment(model, processor, target, measuring, scores)
        int8 = evaluate_environment(small, processor, target, measuring, fp32)
        before, after = fp32["normalised"], int8["normalised"]
        rows.append({"environment": name, "fp32": before, "int8": after, "change": after - before})
    means = {column: float(np.mean([row[column] for row in rows])) for column in ("fp32", "int8", "change")}
    at_80 = {column: sum(row[column] >= 0.8 for row in rows) for column in ("fp32", "int8")}
    notes = [
        f"at 80 % of the reference or more: {at_80['fp32']} of {len(rows)} in fp32, {at_80['int8']} in int8. "
        f"Scores: 0 random, 1 reference; {args.episodes} episodes or more, with task text."
    ]
    show(f"Scores of {args.model} with int8 weights", [*rows, {"environment": "mean", **means}], args, notes)


if __name__ == "__main__":
    main()
