#!/usr/bin/env python
"""Effect of int8 weights on scores: a pretrained model as it is and with an int8 backbone, as `ldm evaluate` measures.

    python benchmarks/int8.py --model outputs/ldm-nano --dataset outputs/trajectories \\
        --json outputs/benchmarks/int8.json

benchmarks/rollout.py measures how much time they save.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import parser, quantised, show
from tqdm import tqdm

from ldm_hf.agent import load_model
from ldm_hf.evaluation import EvaluationOptions
from ldm_hf.evaluation.evaluating import catalogue_target, evaluate_environment
from ldm_hf.trajectories.schema import EnvironmentInfo


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", required=True, help="folder or Hub id of a pretrained LDM")
    made.add_argument("--dataset", type=Path, help="folder of trajectories whose stored scores are reused")
    made.add_argument(
        "--references", type=Path, default=Path("outputs/references"), help="folder of trained reference policies"
    )
    made.add_argument("--ids", nargs="+", help="environments; by default all that the model knows")
    made.add_argument("--episodes", type=int, default=20, help="episodes per policy")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    model, processor = load_model(args.model)
    small = quantised(model)
    options = EvaluationOptions(args.episodes)
    rows = []
    for name in tqdm(args.ids or list(processor.environments), desc="environments"):
        target = catalogue_target(name, args.references)
        scores = EnvironmentInfo.load(args.dataset / name).scores if args.dataset else {}
        fp32 = evaluate_environment(model, processor, target, options, scores)
        scores = {"random": fp32["random"], "reference": fp32["reference"]}
        int8 = evaluate_environment(small, processor, target, options, scores)
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
