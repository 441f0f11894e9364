"""The algorithms that fit the spaces, with the settings of RL Baselines3 Zoo (Raffin 2020) where it has them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from ...errors import LDMError, MissingExtraError, UnsupportedSpaceError, short
from .spaces import Adapter

if TYPE_CHECKING:
    import optuna
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.vec_env import VecEnv

Configuration = dict[str, Any]
"""The arguments of an algorithm and, beside them, ``algorithm``, ``n_envs``, ``net_arch`` and ``normalize``."""

BESIDE = ("algorithm", "n_envs", "net_arch", "normalize")
LAYERS, WIDTH = 8, 4096  # most hidden layers, and units of one, that are read from a file
LANES, MOST = 1024, 10**7  # most environments in lock step, and the largest other number of a configuration
PPO: Configuration = {
    "n_steps": 256,
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 3e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "ent_coef": 0.0,
    "clip_range": 0.2,
}
PIXELS = {"n_steps": 128, "n_epochs": 4, "learning_rate": 2.5e-4, "ent_coef": 0.01, "clip_range": 0.1}
SAC: Configuration = {
    "learning_rate": 7e-4,
    "gamma": 0.99,
    "tau": 0.01,
    "batch_size": 256,
    "buffer_size": 300_000,
    "learning_starts": 1000,
    "train_freq": 8,
    "gradient_steps": 8,
}
# Without a network of targets (Bhatt et al. 2024, arXiv 1902.05605). Its actor learns in every third update: with a
# multiple of three at a time, SBX compiles them once, else three times.
CROSSQ: Configuration = {key: value for key, value in SAC.items() if key != "tau"} | {
    "train_freq": 9,
    "gradient_steps": 9,
}
ARS: Configuration = {"directions": 16, "best": 8, "step": 0.02, "noise": 0.03}
DISTILLED: Configuration = {"learning_rate": 1e-3, "batch_size": 256, "passes": 8}
MOST_NUMBERS = 400  # of an observation of which a linear policy is searched
SETTINGS = {
    "ars": ARS,
    "distilled": DISTILLED,
    "ppo": PPO,
    "sac": SAC,
    "sbx-crossq": CROSSQ,
    "sbx-sac": SAC,
    "sbx-tqc": SAC,
    "tqc": SAC,
}
"""Arguments of the algorithms, by name; those in JAX begin with ``sbx-``."""
TRAINERS = {  # module, class and extra of those that are not simply Stable-Baselines3's
    "sbx-crossq": ("sbx", "CrossQ", "sbx"),
    "sbx-sac": ("sbx", "SAC", "sbx"),
    "sbx-tqc": ("sbx", "TQC", "sbx"),
    "tqc": ("sb3_contrib", "TQC", "reference"),
}
PACKAGES = {"sb3_contrib": "sb3-contrib", "sbx": "sbx-rl", "stable_baselines3": "stable-baselines3"}
ACTORS = {"ars": "ppo", "distilled": "ppo", "sbx-crossq": "sac", "sbx-sac": "sac", "sbx-tqc": "sac"}
"""The algorithm whose network acts, where that is another one: PPO's is linear without hidden layers."""
ON_DEMAND = ("distilled", "sbx-crossq", "sbx-sac", "sbx-tqc")  # need a planner, or another library


def configurations(adapter: Adapter, chosen: Configuration) -> list[Configuration]:
    """The defaults of every algorithm that fits the spaces, the most promising first.

    PPO for choices and for images; for real-valued actions random search (ARS), whose policies are linear and which
    computes nothing but the environment's steps, TQC and SAC, which learn from fewer steps, and PPO, whose steps are
    cheaper than theirs. For choices random search comes last: a linear policy of them is seldom enough.

    Args:
        adapter: adapter of the environment.
        chosen: settings of a row, which replace single defaults; without ``algorithm``, they are PPO's.

    Raises:
        UnsupportedSpaceError: if the chosen algorithm is for other spaces.
    """
    continuous = isinstance(adapter.action_space, spaces.Box) and not adapter.image
    names = ["tqc", "ppo", "sac"] if continuous else ["ppo"]
    wanted = [name for name in ON_DEMAND if continuous or name == "distilled"]
    if not adapter.image and np.prod(adapter.observation_space.shape) <= MOST_NUMBERS:
        names.insert(0 if continuous else 1, "ars")
    if not chosen:
        return [_defaults(name, adapter) for name in names]
    algorithm = chosen.get("algorithm", "ppo")
    check_algorithm(algorithm)
    if algorithm not in (*names, *wanted):
        raise UnsupportedSpaceError(
            f"{algorithm} does not learn to act in {adapter.action_space!s:.100} from "
            f"{adapter.observation_space!s:.100}; choose one of {', '.join((*names, *wanted))}"
        )
    return [_defaults(algorithm, adapter) | chosen]


def _defaults(name: str, adapter: Adapter) -> Configuration:
    if name == "ars":
        return {"algorithm": name, "n_envs": 1, "net_arch": [], "normalize": True, **ARS}
    if name == "distilled":
        return {"algorithm": name, "n_envs": 1, "net_arch": [128, 128], "normalize": True, **DISTILLED}
    off_policy = "buffer_size" in SETTINGS[name]
    return {
        "algorithm": name,
        "n_envs": 1 if off_policy else 8,
        "net_arch": [256, 256] if off_policy else [64, 64],
        # pixels have a known scale; so have boards of zeros and ones
        "normalize": not adapter.image and adapter.observation_space.dtype != bool,
        **SETTINGS[name],
        **(PIXELS if adapter.image else {}),
    }


def vary(trial: optuna.Trial, base: Configuration) -> Configuration:
    """Another configuration near ``base``, sampled by an Optuna trial."""
    if base["algorithm"] == "ars":
        sizes = {name: base[name] * trial.suggest_float(name, 0.4, 1.5, log=True) for name in ("step", "noise")}
        return base | sizes
    varied: Configuration = {
        "learning_rate": base["learning_rate"] * trial.suggest_float("learning_rate", 0.3, 3.0, log=True),
        "gamma": trial.suggest_categorical("gamma", [0.95, 0.98, 0.99, 0.995, 0.999]),
    }
    if base["algorithm"] == "ppo":
        varied |= {
            "n_steps": trial.suggest_categorical("n_steps", [64, 256, 1024]),
            "ent_coef": trial.suggest_categorical("ent_coef", [0.0, 0.003, 0.01, 0.03]),
            "gae_lambda": trial.suggest_categorical("gae_lambda", [0.9, 0.95, 0.98]),
        }
    elif "tau" in base:
        varied["tau"] = trial.suggest_categorical("tau", [0.005, 0.01, 0.02])
    return base | varied


def check_configuration(configuration: Configuration) -> None:
    """Checks a configuration that was read from a file, before memory is taken for it.

    Raises:
        ValueError: if it has other fields than its algorithm's defaults, or an impossible size.
        TypeError: if it is no dictionary.
        KeyError: if it lacks a field.
    """
    algorithm = configuration["algorithm"]
    if algorithm not in SETTINGS or not set(configuration) <= {*BESIDE, *SETTINGS[algorithm], *PIXELS}:
        raise ValueError(f"no configuration: {short(configuration)}")
    check_widths(configuration["net_arch"])
    for name, value in configuration.items():
        most = LANES if name == "n_envs" else MOST
        if name not in ("algorithm", "net_arch") and not (isinstance(value, int | float) and 0 <= value <= most):
            raise ValueError(f"{name} is {short(value)}")


def check_widths(widths: object) -> None:
    """Checks the widths of hidden layers, before memory is taken for them.

    Raises:
        ValueError: if they are none, or too large.
    """
    if not isinstance(widths, list) or len(widths) > LAYERS:
        raise ValueError(f"net_arch is {short(widths)}")
    if not all(type(width) is int and 1 <= width <= WIDTH for width in widths):
        raise ValueError(f"net_arch has widths that are not from 1 to {WIDTH}: {short(widths)}")


def check_algorithm(algorithm: object) -> None:
    """Checks that there is an algorithm of this name, and the library that trains it.

    Raises:
        LDMError: if there is none.
        MissingExtraError: if its library is not installed.
    """
    if not isinstance(algorithm, str) or algorithm not in SETTINGS:
        raise LDMError(f"no algorithm {short(algorithm)}; choose one of {', '.join(SETTINGS)}")
    trainer_of(algorithm)


def trainer_of(algorithm: str) -> type[BaseAlgorithm]:
    """The class that trains, of Stable-Baselines3 or a library that is like it.

    Raises:
        MissingExtraError: if its library is not installed.
    """
    default = ("stable_baselines3", ACTORS.get(algorithm, algorithm).upper(), "reference")
    module, name, extra = TRAINERS.get(algorithm, default)
    try:
        found: type[BaseAlgorithm] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(PACKAGES.get(module, module), extra) from error
    return found


def new_network(algorithm: str, adapter: Adapter, net_arch: list[int]) -> BasePolicy:
    """An untrained network in PyTorch that acts for an algorithm.

    Args:
        algorithm: name of the algorithm.
        adapter: adapter of the environment.
        net_arch: widths of the hidden layers.

    Raises:
        ValueError: if there is no algorithm of this name.
        MissingExtraError: if its library is not installed.
    """
    if algorithm not in SETTINGS:
        raise ValueError(f"no algorithm {short(algorithm)}")
    build = trainer_of(ACTORS.get(algorithm, algorithm)).policy_aliases[_kind(adapter)]
    made: BasePolicy = build(adapter.observation_space, adapter.action_space, lambda _: 0.0, net_arch=net_arch)
    return made


def _kind(adapter: Adapter) -> str:
    return "CnnPolicy" if adapter.image else "MlpPolicy"


def make_model(configuration: Configuration, adapter: Adapter, vector: VecEnv, seed: int) -> BaseAlgorithm:
    """Makes an untrained model.

    Args:
        configuration: algorithm and settings.
        adapter: adapter of the environment.
        vector: vector of environments that the model will learn in.
        seed: seed of the networks and the exploration.
    """
    algorithm = configuration["algorithm"]
    settings = {key: configuration[key] for key in SETTINGS[algorithm]}
    return trainer_of(algorithm)(
        _kind(adapter),
        vector,
        policy_kwargs={"net_arch": configuration["net_arch"]},
        seed=seed,
        device="cpu",
        **settings,
    )
