"""Reference policies trained by reinforcement learning (see `training`), saved without pickle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from ...errors import CheckpointError, LDMError, MissingExtraError
from ...spaces import Action, Info, Observation, describe_difference, space_from_json, space_to_json
from ...utils.files import read_json, unfinished_file, write_atomically, writing
from ..base import Reference
from ..records import TrainingRecord
from .algorithms import check_widths, new_network
from .spaces import Adapter

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import BasePolicy

DESCRIPTION, WEIGHTS = "policy.json", "policy.safetensors"
CLIP = 10.0  # standard deviations, as in Stable-Baselines3


class ReinforcementLearned(Reference):
    """The deterministic policy of a trained network.

    Args:
        policy: Stable-Baselines3 policy.
        adapter: adapter of the environment that it acts in.
        mean: mean of the observations; None without normalisation.
        deviation: standard deviation of the observations; None without normalisation.
    """

    method = "rl"

    def __init__(
        self, policy: BasePolicy, adapter: Adapter, mean: np.ndarray | None, deviation: np.ndarray | None
    ) -> None:
        self.policy, self.adapter, self.mean, self.deviation = policy, adapter, mean, deviation
        self.vectorised = adapter.changes_nothing
        self._layer = _only_layer(policy)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        seen = self.adapter.observation(observation)
        if self.mean is not None and self.deviation is not None:
            seen = np.clip((seen - self.mean) / self.deviation, -CLIP, CLIP).astype(np.float32)
        chosen = self.policy.predict(seen, deterministic=True)[0] if self._layer is None else self._linear(seen)
        return self.adapter.action(chosen)

    def _linear(self, seen: np.ndarray) -> np.ndarray:
        """What the network chooses, without torch, which takes twenty times as long for one layer."""
        assert self._layer is not None
        weights, bias = self._layer
        space, batch = self.adapter.action_space, seen.ndim > len(self.adapter.observation_space.shape)
        outputs = seen.reshape(-1, weights.shape[1]) @ weights.T + bias
        if isinstance(space, spaces.Box):
            chosen: np.ndarray = np.clip(outputs.reshape(-1, *space.shape), space.low, space.high).astype(space.dtype)
        else:
            chosen = outputs.argmax(1)
        return chosen if batch else np.asarray(chosen[0])

    def save(self, folder: Path, env: gymnasium.Env, net_arch: list[int], record: TrainingRecord) -> None:
        """Writes the acting networks (without the critic, where that is separate) and the spaces that they expect.

        Args:
            folder: folder of this policy alone.
            env: environment that the policy acts in.
            net_arch: widths of the hidden layers.
            record: how the policy came about; has ``algorithm``.
        """
        weights = {key: value.clone().contiguous() for key, value in _acting(self.policy).state_dict().items()}
        if self.mean is not None and self.deviation is not None:
            weights["normalize.mean"] = torch.from_numpy(self.mean.copy())
            weights["normalize.deviation"] = torch.from_numpy(self.deviation.copy())
        data = {
            "observation_space": space_to_json(env.observation_space),
            "action_space": space_to_json(env.action_space),
            "net_arch": net_arch,
            "record": record,
        }
        with writing(folder / WEIGHTS), unfinished_file(folder / WEIGHTS) as unfinished:
            save_file(weights, unfinished)
        write_atomically(
            folder / DESCRIPTION, json.dumps(data, indent=2) + "\n"
        )  # last: it marks the folder as complete

    @classmethod
    def load(cls, folder: Path, env: gymnasium.Env, name: str) -> ReinforcementLearned:
        """Loads a policy.

        Raises:
            CheckpointError: if the policy was not trained yet, is damaged, or was trained for other spaces.
            MissingExtraError: if the library that trained it is not installed.
        """
        if not (folder / DESCRIPTION).exists():
            raise CheckpointError(
                f"{name}: no reference policy in {folder}. Train it with: ldm reference --ids {name}"
            )
        try:
            data = read_json(folder / DESCRIPTION)
            check_widths(data["net_arch"])
            observation_space, action_space = (
                space_from_json(data[which]) for which in ("observation_space", "action_space")
            )
            differences = describe_difference(observation_space, env.observation_space)
            differences += describe_difference(action_space, env.action_space)
            if differences:  # before memory is taken for networks of these sizes
                raise CheckpointError(
                    f"{name}: the reference policy was trained for other spaces: {'; '.join(differences)}"
                )
            adapter = Adapter(observation_space, action_space)
            policy = new_network(data["record"]["algorithm"].lower(), adapter, data["net_arch"])
            weights = load_file(folder / WEIGHTS)
            statistics = {key: weights.pop(f"normalize.{key}", None) for key in ("mean", "deviation")}
            _acting(policy).load_state_dict(weights)
        except (MissingExtraError, CheckpointError, MemoryError):
            raise
        except Exception as error:
            raise CheckpointError(
                f"{name}: the reference policy in {folder} is damaged ({error}); remove the folder and train it again."
            ) from error
        policy.eval()
        mean, deviation = (None if value is None else value.numpy() for value in statistics.values())
        return cls(policy, adapter, mean, deviation)


def normalisation(model: BaseAlgorithm) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean and standard deviation of the observations of a model in training; None where it does not normalise."""
    statistics = model.get_vec_normalize_env()
    if statistics is None:
        return None, None
    assert not isinstance(statistics.obs_rms, dict)  # the observations of an adapter are one array
    deviation = np.sqrt(statistics.obs_rms.var + statistics.epsilon)
    return statistics.obs_rms.mean.astype(np.float32), deviation.astype(np.float32)


def training_record(folder: Path) -> TrainingRecord | None:
    """How the policy in a folder came about; None if there is none, or none that can be read."""
    try:
        record: TrainingRecord = read_json(folder / DESCRIPTION)["record"]
        return record if math.isfinite(record["score"]) else None
    except (OSError, ValueError, TypeError, KeyError, LDMError):
        return None


def amend_record(folder: Path, fields: TrainingRecord) -> None:
    """Adds fields to the record of the policy in a folder."""
    data = read_json(folder / DESCRIPTION)
    data["record"] |= fields
    write_atomically(folder / DESCRIPTION, json.dumps(data, indent=2) + "\n")


def _only_layer(policy: BasePolicy) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and bias of a network that is linear in one vector; None for others."""
    layer = getattr(policy, "action_net", None)
    numbers = int(np.prod(policy.observation_space.shape or ()))
    one_choice = isinstance(policy.action_space, spaces.Box | spaces.Discrete)
    if not isinstance(layer, torch.nn.Linear) or getattr(policy, "net_arch", None) != [] or not one_choice:
        return None
    return (layer.weight.detach().numpy(), layer.bias.detach().numpy()) if layer.in_features == numbers else None


def _acting(policy: BasePolicy) -> torch.nn.Module:
    """The part of a policy that chooses actions."""
    actor: torch.nn.Module = getattr(policy, "actor", policy)
    return actor
