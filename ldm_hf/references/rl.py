"""Reference policies by reinforcement learning with Stable-Baselines3 (Raffin et al. 2021), saved without pickle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from ..environments import EnvironmentSpec, make
from ..environments.making import quiet
from ..errors import CheckpointError, LDMError, MissingExtraError
from ..parallel import run_tasks
from ..spaces import describe_difference, space_from_json, space_to_json
from .base import Reference

# PPO with the settings of RL Baselines3 Zoo where it has them; a row of the catalogue overrides single ones.
DEFAULTS: dict[str, Any] = {
    "n_envs": 8,
    "n_steps": 256,
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "ent_coef": 0.0,
    "clip_range": 0.2,
    "net_arch": [64, 64],
    "normalize": False,
    "seconds": 120,
    "target": None,
}
EVALUATION_EPISODES = 10
EVALUATIONS = 12  # spread over the budget; the best policy is kept


def _stable_baselines() -> Any:
    try:
        import stable_baselines3
    except ImportError as error:
        raise MissingExtraError("stable-baselines3", extra="reference") from error
    return stable_baselines3


class ReinforcementLearned(Reference):
    """The deterministic policy of a trained actor-critic network.

    Args:
        policy: Stable-Baselines3 policy.
        mean: of observations, None without normalisation.
        deviation: likewise.
    """

    method = "rl"

    def __init__(self, policy: Any, mean: np.ndarray | None, deviation: np.ndarray | None) -> None:
        self.policy, self.mean, self.deviation = policy, mean, deviation

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        if self.mean is not None:
            observation = np.clip((observation - self.mean) / self.deviation, -10, 10).astype(np.float32)
        return self.policy.predict(observation, deterministic=True)[0]

    @classmethod
    def load(cls, folder: Path, env: gymnasium.Env, name: str) -> ReinforcementLearned:
        """Loads a policy.

        Raises:
            CheckpointError: if it was not trained yet, is damaged, or was trained for other spaces.
        """
        _stable_baselines()
        from stable_baselines3.common.policies import ActorCriticPolicy

        if not (folder / "policy.json").exists():
            raise CheckpointError(
                f"{name}: no reference policy in {folder}. Train it with: ldm reference --ids {name}"
            )
        try:
            data = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
            observation_space, action_space = (
                space_from_json(data[which]) for which in ("observation_space", "action_space")
            )
            weights = load_file(folder / "policy.safetensors")
            policy = ActorCriticPolicy(observation_space, action_space, lambda _: 0.0, net_arch=data["net_arch"])
            policy.load_state_dict({key: value for key, value in weights.items() if not key.startswith("normalize.")})
        except Exception as error:
            raise CheckpointError(
                f"{name}: the reference policy in {folder} is damaged ({error}); remove the folder and train it again."
            ) from error
        for saved, expected in ((observation_space, env.observation_space), (action_space, env.action_space)):
            differences = describe_difference(saved, expected)
            if differences:
                raise CheckpointError(
                    f"{name}: the reference policy was trained for other spaces: {'; '.join(differences)}"
                )
        policy.eval()
        mean, deviation = (
            weights[key].numpy() if key in weights else None for key in ("normalize.mean", "normalize.deviation")
        )
        return cls(policy, mean, deviation)


def train_reference(spec: EnvironmentSpec, folder: str | Path, seed: int = 0, force: bool = False) -> dict[str, Any]:
    """Trains the reference of one environment within its budget and keeps the best policy seen.

    Args:
        spec: row whose ``reference`` is ``rl``; its ``reference_kwargs`` override the defaults above.
        folder: of all policies; this one goes into a sub-folder.
        seed: of the training.
        force: train again what is there already.

    Returns:
        Record: seconds, steps, best mean return of the evaluations during training, hyper-parameters.
    """
    sb3 = _stable_baselines()
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    target_folder = Path(folder) / spec.name
    if (target_folder / "policy.json").exists() and not force:
        return json.loads((target_folder / "policy.json").read_text(encoding="utf-8"))["record"]
    options = DEFAULTS | spec.reference_kwargs

    def vector(count: int) -> Any:
        from stable_baselines3.common.monitor import Monitor

        return DummyVecEnv([lambda: Monitor(make(spec))] * count)

    training, evaluation = vector(options["n_envs"]), vector(EVALUATION_EPISODES)
    if options["normalize"]:
        training = VecNormalize(training, norm_obs=True, norm_reward=True, gamma=options["gamma"])
        evaluation = VecNormalize(evaluation, norm_obs=True, norm_reward=False, training=False)
    settings = {
        key: options[key]
        for key in (
            "n_steps",
            "batch_size",
            "n_epochs",
            "learning_rate",
            "gamma",
            "gae_lambda",
            "ent_coef",
            "clip_range",
        )
    }
    with quiet():
        model = sb3.PPO(
            "MlpPolicy", training, policy_kwargs={"net_arch": options["net_arch"]}, seed=seed, device="cpu", **settings
        )
    started = time.monotonic()
    best: dict[str, Any] = {"score": -np.inf}

    class KeepBest(BaseCallback):
        """Evaluates at equal intervals of the budget, keeps the best policy, stops at the target or at the end of the budget."""

        def __init__(self) -> None:
            super().__init__()
            self.due = options["seconds"] / EVALUATIONS

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            elapsed = time.monotonic() - started
            if elapsed < self.due:
                return
            self.due = elapsed + options["seconds"] / EVALUATIONS
            if options["normalize"]:
                evaluation.obs_rms = training.obs_rms
            score: Any  # a float, as no list of returns is asked for
            score, _ = evaluate_policy(
                self.model, evaluation, n_eval_episodes=EVALUATION_EPISODES, deterministic=True, warn=False
            )
            if score > best["score"]:
                weights = {key: value.clone().contiguous() for key, value in self.model.policy.state_dict().items()}
                if options["normalize"]:
                    rms = training.obs_rms
                    weights["normalize.mean"] = torch.from_numpy(rms.mean.astype(np.float32))
                    weights["normalize.deviation"] = torch.from_numpy(
                        np.sqrt(rms.var + training.epsilon).astype(np.float32)
                    )
                best.update(score=float(score), weights=weights, steps=self.num_timesteps)
            finished = elapsed > options["seconds"] or (options["target"] is not None and score >= options["target"])
            if finished:
                raise _BudgetSpent

    with quiet():
        try:
            model.learn(total_timesteps=10**9, callback=KeepBest())
        except _BudgetSpent:
            pass
        finally:
            training.close()
            evaluation.close()
    record = {
        "method": "rl",
        "algorithm": "PPO",
        "seconds": round(time.monotonic() - started, 1),
        "steps": best["steps"],
        "score": best["score"],
        "hyperparameters": {key: value for key, value in options.items() if key not in ("seconds", "target")},
        "seed": seed,
    }
    env = make(spec)
    data = {"observation_space": space_to_json(env.observation_space), "action_space": space_to_json(env.action_space)}
    env.close()
    target_folder.mkdir(parents=True, exist_ok=True)
    save_file(best["weights"], target_folder / "policy.safetensors")
    # written last: a folder with this file is whole
    (target_folder / "policy.json").write_text(
        json.dumps(data | {"net_arch": options["net_arch"], "record": record}, indent=2), encoding="utf-8"
    )
    return record


def train_references(
    specs: list[EnvironmentSpec], folder: str | Path, jobs: int = 1, seed: int = 0, force: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, LDMError]]:
    """Trains several references at a time, see `train_reference`; returns records and errors by environment."""
    tasks = {spec.name: (spec, str(folder), seed, force) for spec in specs}
    records, failures = {}, {}
    with tqdm(total=len(tasks), desc="reference", unit="policy") as bar:
        for name, outcome in run_tasks(train_reference, tasks, jobs):
            bar.update()
            if isinstance(outcome, LDMError):
                failures[name] = outcome
            else:
                records[name] = outcome
    return records, failures


class _BudgetSpent(Exception):
    """Ends training from within a callback that Stable-Baselines3 gives no other way to stop it from."""
