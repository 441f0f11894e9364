#!/usr/bin/env python
"""Evaluates a pretrained LDM against random actions and reference policies.

    python examples/evaluate.py --model outputs/ldm-nano --jobs 2 --output outputs/ldm-nano/results.json

Prints a table per environment and per domain, and writes the results as JSON with the threshold curve as a PNG beside
it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ldm_hf.errors import LDMError
from ldm_hf.evaluation import HELD_OUT_SEED, evaluate, print_report, threshold_curve


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Evaluates a pretrained LDM against random actions and reference policies."
    )
    parser.add_argument("--model", required=True, help="folder or Hub id of a pretrained LDM")
    parser.add_argument("--environments", nargs="+", help="names; by default those that the model was trained on")
    parser.add_argument("--references", default="outputs/references", help="folder of trained reference policies")
    parser.add_argument("--dataset", help="folder of trajectories, to reuse its scores of random and reference")
    parser.add_argument("--output", type=Path, default=Path("outputs/results.json"), help="JSON; the curve beside it")
    parser.add_argument("--episodes", type=int, default=20, help="per policy and environment")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help="of the first episode")
    parser.add_argument("--num-envs", type=int, default=10, help="environments in lock step")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with an environment of its own")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    try:
        results = evaluate(
            args.model,
            args.environments,
            args.references,
            episodes=args.episodes,
            seed=args.seed,
            num_envs=args.num_envs,
            jobs=args.jobs,
            dataset=args.dataset,
            output=args.output,
        )
        print_report(results)
        threshold_curve(results, args.output.with_suffix(".png"))
    except LDMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if "failures" in results else 0


if __name__ == "__main__":
    sys.exit(main())
