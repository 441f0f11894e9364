#!/usr/bin/env python
"""Which references can be imitated: the share of its reference that a small clone of 20,000 labelled steps reaches.

    python benchmarks/clones.py --work outputs/clones --json docs/results/clones.json

The clone is scikit-learn's network of two layers, which sees the last observation only: what it misses is either
beyond these steps, or depends on what came before, as plans of a search do that are kept from step to step. The steps
are those of `ldm collect`, a third clean and the others perturbed, all labelled by the reference. Where these take
longer than ``--seconds``, there are fewer, which their column tells.

agreement: share of held-out labels that the clone chooses, or of their variance that it predicts (the mean over the
parts of an action). Score: 0 random, 1 reference, mean return of episodes on held-out seeds; where they take longer
than ``--seconds``, those that have ended count, from five on.

A table in Markdown is written beside the JSON file. Rows of the JSON file are not measured again, an interrupted
collection goes on, and an environment that fails or hangs is named at the end and stops no other.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from cloning import NETWORK, Clone
from common import Row, parser, show
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.errors import LDMError
from ldm_hf.references import reference_scores
from ldm_hf.references.finding import measure
from ldm_hf.rollouts import normalised_score
from ldm_hf.trajectories import open_dataset
from ldm_hf.utils.files import write_atomically
from ldm_hf.utils.parallel import run_tasks
from ldm_hf.utils.tables import markdown_table

PILOT = 500  # steps to begin with; then twice as many, again and again
HELD_OUT = 0.1  # of the steps, the last ones
GOAL = 0.8  # of the reference
LEFT = ("environment", "method")  # columns of words
GRACE = 600.0  # seconds beyond all others after which an environment is taken to hang
ENVIRONMENTS = Path(__file__).parent / "clones.txt"
REFERENCES = Path(__file__).parents[1] / "model_cards" / "ldm-reference-policies"


def gather(name: str, plan: Plan, seconds: float) -> None:
    """Collects up to the steps of the plan; no more once a third of the time is over, so that twice as many would not
    fit into it.

    Raises:
        LDMError: if the environment or its reference fails.
    """
    spec, started = get_spec(name), time.monotonic()
    steps = min(PILOT, plan.steps)
    while True:
        now = Plan(plan.folder, plan.references_folder, steps=steps)
        if errors := collect([spec], now, progress=False):
            raise errors[name]
        if steps >= plan.steps or time.monotonic() - started > seconds / 3:
            return
        steps = min(2 * steps, plan.steps)


def cloned(name: str, folder: str, references: str, steps: int, seconds: float, episodes: int) -> Row:
    """Clones the reference of one environment and lets the clone play.

    Args:
        name: name of the environment.
        folder: folder of trajectories.
        references: folder of learned policies.
        steps: labelled steps to collect, at most.
        seconds: most seconds of collecting, and of playing.
        episodes: episodes to play.
    """
    started = time.monotonic()
    gather(name, Plan(folder, references, steps=steps), seconds)
    stream = open_dataset(folder, [name])[name]
    with threadpool_limits(1):  # the other core has an environment of its own
        clone = Clone([stream], NETWORK, held_out=HELD_OUT)
    found = measure(get_spec(name), clone, time.monotonic() + seconds, episodes)
    random, reference = (stream.info.scores[kind]["mean"] for kind in ("random", "reference"))
    known = reference_scores().get(name)
    return {
        "environment": name,
        "method": known["method"] if known else "",
        "steps": stream.num_steps,
        "random": random,
        "reference": reference,
        "agreement": clone.agreement,
        "clone": found["mean"],
        "± 95 %": found["ci"],
        "episodes": found["episodes"],
        "score": float(normalised_score(found["mean"], random, reference, name)),
        "seconds": round(time.monotonic() - started),
    }


def page(rows: list[Row], command: str, notes: list[str]) -> str:
    """The page of the documentation that has the table."""
    cells = [[f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row.values()] for row in rows]
    told = __doc__.split("\n\n")
    heading = "# Which references can be imitated\n\n" + f"`{command}`\n\n" + told[2] + "\n\n" + told[3]
    table = markdown_table(list(rows[0]), cells, right=[title for title in rows[0] if title not in LEFT])
    return "\n\n".join([heading, *notes, table]) + "\n"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--work", type=Path, required=True, help="folder for trajectories")
    made.add_argument("--references", type=Path, default=REFERENCES, help="folder of learned policies")
    made.add_argument("--environments", nargs="+", help="environments; by default those in clones.txt")
    made.add_argument("--steps", type=int, default=20_000, help="labelled steps of each environment, at most")
    made.add_argument("--seconds", type=float, default=180, help="most seconds of collecting, and of playing")
    made.add_argument("--episodes", type=int, default=20, help="episodes to measure with")
    made.add_argument("--jobs", type=int, default=2, help="environments at a time")
    args = made.parse_args()
    names = args.environments or ENVIRONMENTS.read_text(encoding="utf-8").split()
    known = json.loads(args.json.read_text(encoding="utf-8"))["rows"] if args.json and args.json.exists() else []
    rows = {row["environment"]: row for row in known}
    todo = {name: (name, str(args.work), str(args.references)) for name in names if name not in rows}
    failed: dict[str, str] = {}
    measure_one = partial(cloned, steps=args.steps, seconds=args.seconds, episodes=args.episodes)
    with tqdm(total=len(todo), unit="environment") as bar:
        for name, outcome in run_tasks(measure_one, todo, args.jobs, limit=3 * args.seconds + GRACE):
            bar.update()
            if isinstance(outcome, LDMError):
                failed[name] = str(outcome)
                tqdm.write(f"{name}: {outcome}")
                continue
            rows[name] = outcome
            report(list(rows.values()), args, failed)
    if rows:
        report(list(rows.values()), args, failed)  # with what failed last


def report(rows: list[Row], args: argparse.Namespace, failed: dict[str, str]) -> None:
    """Prints and writes the rows so far."""
    shares = [float(row["score"] or 0) for row in rows]
    notes = [
        f"Median score {np.median(shares):.2f}; {sum(share >= GOAL for share in shares)} of {len(shares)} at {GOAL}."
    ]
    notes += [f"Not measured: {name} ({why})" for name, why in failed.items()]
    show("Clones of references", sorted(rows, key=lambda row: str(row["environment"])), args, notes)
    if args.json:
        data = json.loads(args.json.read_text(encoding="utf-8"))
        write_atomically(args.json.with_suffix(".md"), page(data["rows"], data["command"], notes[:1]))


if __name__ == "__main__":
    main()
