#!/usr/bin/env python
"""Models of logs in four public formats, judged on the last fifth of their episodes by `ldm evaluate --logs`.

    python benchmarks/formats.py --work outputs/formats --json docs/results/formats.json

* Minari: LunarLander by its heuristic, every tenth action at random, recorded by `minari.DataCollector`;
* D4RL: HalfCheetah by its reference policy with noise, flat arrays of HDF5 with terminals and timeouts;
* JAT: BabyAI by its bot, rows of `datasets` with numbers and words, as `jat-project/jat-dataset` has them;
* Open Bandit: what a fashion shop showed to its visitors and what they clicked (Saito et al. 2020, arXiv 2008.07146,
  CC BY 4.0), the 10,000 rows of the campaign *men* under Bernoulli Thompson sampling that the wheel of `obp` holds.

What is finished is in the folder of `--work`, and is not done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import gymnasium
import h5py
import numpy as np
from common import Row, parser, show

from ldm_hf.environments import get_spec, make
from ldm_hf.offline import evaluate_logs, logs_report
from ldm_hf.references import load_reference
from ldm_hf.utils.files import read_json, save_json

PROJECT = Path(__file__).parents[1]
PRETRAIN = PROJECT / "examples" / "pretrain.py"
REFERENCES = PROJECT / "model_cards" / "ldm-reference-policies"
BANDIT = "obp==0.4.1"
BANDIT_COLUMNS = {
    "name": "OpenBandit-men",
    "task": "choose the item that the visitor will click on",
    "licence": "CC BY 4.0",
    "episode": "impression",
    "observation": {
        "position": {"values": ["1", "2", "3"]},
        **{f"user_feature_{at}": {"words": "true"} for at in range(4)},
        "affinity": {"columns": "user-item_affinity_*"},
    },
    "action": {"item_id": {"values": [str(item) for item in range(34)]}},
    "reward": "click",
}


def played(env: gymnasium.Env, name: str, episodes: int, noise: float) -> Iterator[list[tuple]]:
    """Episodes of a reference policy: observation, action, reward, terminated of each step.

    Choices are replaced by random ones in a share ``noise`` of the steps, numbers get noise of this deviation.
    """
    reference, rng = load_reference(get_spec(name), REFERENCES), np.random.default_rng(0)
    for number in range(episodes):
        observation, facts = env.reset(seed=number)
        reference.reset(env)
        steps, over = [], False
        while not over:
            action = reference.act(env, observation, facts)
            if isinstance(env.action_space, gymnasium.spaces.Discrete):
                action = rng.integers(env.action_space.n) if rng.random() < noise else action
            else:
                noisy = action + rng.normal(0, noise, np.shape(action))
                action = np.clip(noisy, env.action_space.low, env.action_space.high).astype(np.float32)
            following, reward, terminated, truncated, facts = env.step(action)
            steps.append((observation, action, float(reward), bool(terminated)))
            observation, over = following, terminated or truncated
        yield steps


def minari_log(work: Path, share: float) -> list[str]:
    import minari

    if not (work / "minari" / "lander" / "heuristic-v0").exists():
        recorder = minari.DataCollector(make("LunarLander-v3"))
        for _ in played(recorder, "LunarLander-v3", round(120 * share), 0.1):
            pass
        recorder.create_dataset("lander/heuristic-v0", algorithm_name="heuristic")
    return ["minari", "lander/heuristic-v0"]


def d4rl_log(work: Path, share: float) -> list[str]:
    path = work / "halfcheetah.hdf5"
    if not path.exists():
        episodes = list(played(make("HalfCheetah-v5"), "HalfCheetah-v5", round(40 * share), 0.1))
        observations, actions, rewards, terminals = zip(*(step for steps in episodes for step in steps), strict=True)
        ends = np.zeros(len(rewards), bool)
        ends[np.cumsum([len(steps) for steps in episodes]) - 1] = True
        with h5py.File(path, "w") as file:
            file["observations"], file["actions"] = np.array(observations, np.float32), np.array(actions)
            file["rewards"], file["terminals"] = np.array(rewards, np.float32), np.array(terminals)
            file["timeouts"] = ends & ~np.array(terminals)
    return ["d4rl", str(path)]


def jat_log(work: Path, share: float) -> list[str]:
    path = work / "babyai-go-to-local.parquet"
    if not path.exists():
        rows = [
            {
                "text_observations": [seen["mission"] for seen, *_ in steps],
                "discrete_observations": [
                    [int(seen["direction"]), *seen["image"].ravel().tolist()] for seen, *_ in steps
                ],
                "discrete_actions": [int(action) for _, action, *_ in steps],
                "rewards": [reward for _, _, reward, _ in steps],
            }
            for steps in played(make("BabyAI-GoToLocal-v0"), "BabyAI-GoToLocal-v0", round(1500 * share), 0.1)
        ]
        datasets.Dataset.from_list(rows).to_parquet(path)
    return ["jat", str(path)]


def bandit_log(work: Path, share: float) -> list[str]:
    path = work / "men.csv"
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(work), BANDIT]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(work.glob("obp-*.whl"))) as wheel:
            path.write_bytes(b"impression" + wheel.read("obp/dataset/obd/bts/men/men.csv"))  # its index has no name
    save_json(BANDIT_COLUMNS, work / "bandit.yaml")  # JSON is YAML
    return ["table", str(path), "--columns", str(work / "bandit.yaml")]


LOGS = {"Minari": minari_log, "D4RL": d4rl_log, "JAT": jat_log, "Open Bandit": bandit_log}


def run(*command: str) -> None:
    """Runs a command quietly; its error ends the benchmark."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout[-2000:]}{result.stderr[-2000:]}")


def judged(args: argparse.Namespace, name: str) -> Row:
    """Imports, trains and judges."""
    work = args.work / name.replace(" ", "-")
    work.mkdir(parents=True, exist_ok=True)
    os.environ["MINARI_DATASETS_PATH"] = str(work / "minari")
    if not (work / "logs.json").exists():
        kind, source, *options = LOGS[name](work, args.share)
        ldm = [sys.executable, "-c", "from ldm_hf.cli.app import app; app()"]
        run(*ldm, "import", source, "--from", kind, "--to", str(work / "data"), *options)
        options = ["--max_minutes", str(args.minutes), "--test_episodes", "0.2", "--max_steps", str(args.updates)]
        options += ["--cpu_threads", str(args.threads), "--output_dir", str(work / "model")]
        if not (work / "model" / "training.json").exists():
            run(sys.executable, str(PRETRAIN), "--dataset", str(work / "data"), *options)
        results, _ = evaluate_logs(work / "model", work / "data", progress=False)
        (work / "logs.md").write_text(logs_report(results, {}), encoding="utf-8")
        save_json(results, work / "logs.json")
    found = read_json(work / "logs.json")
    (environment, told), *_ = found["environments"].items()
    elements = list(told["elements"].values())
    row: Row = {
        "format": name,
        "environment": environment,
        "train rows": told["train_rows"],
        "test rows": told["test_rows"],
        "measure": elements[0]["measure"],
    }
    for who in elements[0]["contenders"]:
        row[who] = float(np.mean([element["contenders"][who]["mean"] for element in elements]))
    off_policy = told["off_policy"]
    row["logged return"] = off_policy and off_policy["logged"]["mean"]
    row["fitted Q"] = off_policy and off_policy["fitted_q"]["mean"]
    row["doubly robust"] = off_policy and off_policy["doubly_robust"] and off_policy["doubly_robust"]["mean"]
    return row


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--work", type=Path, default=Path("outputs/formats"), help="folder of what is finished")
    made.add_argument("--minutes", type=float, default=2.0, help="minutes of training")
    made.add_argument("--formats", nargs="+", choices=LOGS, default=list(LOGS), help="formats to judge")
    made.add_argument("--updates", type=int, default=100_000, help="most updates of the training")
    made.add_argument("--share", type=float, default=1.0, help="share of the episodes that are played for a log")
    args = made.parse_args()
    rows = [judged(args, name) for name in args.formats]
    show("Last fifth of logs in public formats; several action elements are averaged", rows, args)


if __name__ == "__main__":
    main()
