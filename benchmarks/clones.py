#!/usr/bin/env python
"""Which references can be imitated: the share of its reference that a small clone of 20,000 labelled steps reaches.

    python benchmarks/clones.py --work outputs/clones --json docs/results/clones.json

The clone is scikit-learn's network of two layers, which sees the last observation only: what it misses is either
beyond 20,000 steps, or depends on what came before, as plans of a search do that are kept from step to step. The steps
are those of `ldm collect`, a third clean and the others perturbed, all labelled by the reference.

agreement: share of held-out labels that the clone chooses, or of their variance that it predicts (the mean over the
parts of an action). Score: 0 random, 1 reference, mean return of episodes on held-out seeds. Finished environments are
in the JSON file and are not repeated.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
from common import Row, parser, show
from gymnasium import spaces
from retrieval import Features
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import OneHotEncoder
from tqdm.auto import tqdm

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec, make
from ldm_hf.references import reference_scores
from ldm_hf.rollouts import HELD_OUT_SEED, normalised_score, rollout
from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import Action, Arrays, leaves, stack, unflatten
from ldm_hf.trajectories import EnvironmentTrajectories, open_dataset

ROUNDS = 20  # through all steps
HELD_OUT = 0.1  # of the steps, the last ones
ENVIRONMENTS = Path(__file__).parent / "clones.txt"
REFERENCES = Path(__file__).parents[1] / "model_cards" / "ldm-reference-policies"


class Clone:
    """A policy by a small network, one for each part of an action.

    Args:
        stream: Labelled steps.
        seed: Seed of the network's weights.
    """

    def __init__(self, stream: EnvironmentTrajectories, seed: int = 0) -> None:
        self.features = Features(stream)
        self.encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        steps = stream.slice(0, stream.num_steps)
        numbers, symbols = self.features(steps["observation"], stream.num_steps)
        if symbols.shape[1]:
            self.encoder.fit(symbols)
        inputs = self._inputs(numbers, symbols)
        learnt = int((1 - HELD_OUT) * len(inputs))
        self.models: dict[str, list[MLPClassifier | MLPRegressor | DummyClassifier]] = {}
        agreements = []
        for leaf in leaves(stream.action_space):
            labels = steps["label"][leaf.path].reshape(len(inputs), -1)
            kind = MLPRegressor if isinstance(leaf.space, spaces.Box) else MLPClassifier
            self.models[leaf.path] = []
            for column in [labels] if kind is MLPRegressor else labels.T:
                column = column.squeeze(-1) if column.ndim > 1 and column.shape[1] == 1 else column
                model = kind(hidden_layer_sizes=(128, 128), max_iter=ROUNDS, random_state=seed)
                if len(np.unique(column[:learnt])) == 1:
                    model = DummyClassifier()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # as many rounds as there is time for
                    model.fit(inputs[:learnt], column[:learnt])
                agreements.append(model.score(inputs[learnt:], column[learnt:]))
                self.models[leaf.path].append(model)
        self.agreement = float(np.mean(agreements))

    def _inputs(self, numbers: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Numbers and the symbols as choices of one each, ``(steps, columns)``."""
        return np.concatenate([numbers, self.encoder.transform(symbols)], axis=1) if symbols.shape[1] else numbers

    def start(self, lanes: list[Lane]) -> None: ...

    def begin(self, index: int, lane: Lane) -> None: ...

    def act(self, lanes: list[Lane]) -> list[Action]:
        layout = self.features.layout
        numbers, symbols = self.features(
            stack(layout.observation_space, [lane.observation for lane in lanes]), len(lanes)
        )
        inputs = self._inputs(numbers, symbols)
        chosen: Arrays = {}
        for leaf in leaves(layout.action_space):
            columns = [model.predict(inputs).reshape(len(lanes), -1) for model in self.models[leaf.path]]
            values = np.concatenate(columns, axis=1)
            if isinstance(leaf.space, spaces.Box):
                values = np.clip(values, leaf.space.low.ravel(), leaf.space.high.ravel())
            chosen[leaf.path] = values.reshape(len(lanes), *(leaf.space.shape or ())).astype(leaf.space.dtype)
        return [
            unflatten(layout.action_space, {path: values[lane] for path, values in chosen.items()})
            for lane in range(len(lanes))
        ]


def measure(name: str, folder: Path, episodes: int) -> Row:
    """Clones the reference of one environment and lets it play."""
    stream, spec = open_dataset(folder, [name])[name], get_spec(name)
    clone = Clone(stream)
    returns = rollout(lambda: make(spec), clone, episodes, HELD_OUT_SEED, name=name)
    random, reference = (stream.info.scores[kind]["mean"] for kind in ("random", "reference"))
    return {
        "environment": name,
        "method": reference_scores()[name]["method"],
        "steps": stream.num_steps,
        "random": random,
        "reference": reference,
        "agreement": clone.agreement,
        "clone": float(returns.mean()),
        "score": normalised_score(float(returns.mean()), random, reference, name),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--work", type=Path, required=True, help="folder for trajectories")
    made.add_argument("--references", default=str(REFERENCES), help="folder of learned policies")
    made.add_argument("--environments", nargs="+", help="environments; by default those in clones.txt")
    made.add_argument("--steps", type=int, default=20_000, help="labelled steps of each environment")
    made.add_argument("--episodes", type=int, default=10, help="episodes to measure with")
    args = made.parse_args()
    names = args.environments or ENVIRONMENTS.read_text(encoding="utf-8").split()
    found = json.loads(args.json.read_text())["rows"] if args.json and args.json.exists() else []
    rows = {row["environment"]: row for row in found}
    for name in tqdm([name for name in names if name not in rows], unit="environment"):
        plan = Plan(str(args.work), args.references, steps=args.steps)
        if errors := collect([get_spec(name)], plan):
            tqdm.write(f"{name}: {errors[name]}")
            continue
        rows[name] = measure(name, args.work, args.episodes)
        shares = sorted(row["score"] for row in rows.values())
        note = f"median score {np.median(shares):.2f}; {sum(share >= 0.8 for share in shares)} of {len(shares)} at 0.8"
        show("Clones of new references", list(rows.values()), args, [note])


if __name__ == "__main__":
    main()
