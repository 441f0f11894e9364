"""Rows that carry the id of a registered environment are that environment: its limit, its options, its rewards."""

import gymnasium
import numpy as np
import pytest

from ldm_hf.environments import catalogue, installed_version, make
from ldm_hf.environments.isolation import is_isolated
from ldm_hf.environments.making import _register, quiet
from ldm_hf.environments.specs import EnvironmentSpec, known_as

# Where the library counts steps inside its environment: its limit in steps; of the others the id says all.
INNER_LIMITS = {
    "rware": lambda env: env.unwrapped.max_steps,
    "lbforaging": lambda env: env.unwrapped._max_episode_steps,
    "highway-env": lambda env: env.unwrapped.config["duration"] * env.unwrapped.config["policy_frequency"],
    "evcrl": lambda env: np.ceil(env.unwrapped.vehicle.t_end / 2),  # decisions of two seconds
}
# Wrappers that change what is seen, or where chance comes from, but neither rewards nor time limits.
HARMLESS = {"text_mission", "unbounded", "global_random_state", "seed_every_reset", "atari"}
# Options that do the same: Atari's frames are skipped and scaled by the usual wrapper instead of the emulator.
HARMLESS_OPTIONS = {"ale-py": {"frameskip": 1}}


@pytest.fixture(scope="module")
def standard_rows() -> dict[str, tuple[EnvironmentSpec, str]]:
    """Rows whose name is a registered id (with a hyphen for a slash), and that id."""
    rows = [row for row in catalogue().values() if installed_version(row.library) and not is_isolated(row.library)]
    for library in {row.library for row in rows}:
        _register(library)
    ids = {name.replace("/", "-"): name for name in gymnasium.registry}
    return {row.name: (row, ids[row.name]) for row in rows if row.name in ids}


def differences(row: EnvironmentSpec, env_id: str) -> list[str]:
    """What sets a row apart from the environment whose id it carries, apart from what it sees."""
    found = []
    standard = gymnasium.spec(env_id)
    if row.env_id != env_id:
        found.append(f"another id: {row.env_id}")
    if own := {k: v for k, v in row.kwargs.items() if HARMLESS_OPTIONS.get(row.library, {}).get(k) != v}:
        found.append(f"options {own}")
    if own := set(row.wrappers) - HARMLESS - {"sum_of_rewards"}:  # of several rewards, as is compared below
        found.append(f"wrappers {own}")
    if row.max_episode_steps not in (None, standard.max_episode_steps):
        with quiet():
            env = gymnasium.make(env_id, disable_env_checker=True)
            env.reset(seed=0)
        inner = INNER_LIMITS[row.library](env) if row.library in INNER_LIMITS else np.inf
        if row.max_episode_steps < inner or standard.max_episode_steps is not None:
            found.append(f"{row.max_episode_steps} steps instead of {standard.max_episode_steps or inner}")
        env.close()
    return found


def test_rows_with_a_standard_id_have_the_limit_and_the_options_of_the_library(standard_rows):
    assert len(standard_rows) > 500
    found = {name: differences(row, env_id) for name, (row, env_id) in standard_rows.items()}
    assert not {name: wrong for name, wrong in found.items() if wrong}


def test_a_shorter_row_under_a_standard_id_would_be_found(standard_rows):
    row, env_id = standard_rows["Taxi-v4"]
    assert not differences(row, env_id)
    assert differences(catalogue()["Taxi-v4-short"], env_id) == ["100 steps instead of 200"]


def test_spaces_and_rewards_of_standard_rows_are_those_of_the_library(standard_rows):
    """One row for each library and combination of wrappers: the same seed and actions, the same rewards and ends."""
    chosen = {(row.library, row.wrappers): (row, env_id) for row, env_id in reversed(standard_rows.values())}
    for row, env_id in chosen.values():
        with quiet():
            ours, theirs = make(row), gymnasium.make(env_id, disable_env_checker=True)
        assert ours.action_space == theirs.action_space, row.name
        if not HARMLESS & set(row.wrappers):
            assert ours.observation_space == theirs.observation_space, row.name
        if not {"atari", "global_random_state", "seed_every_reset"} & set(row.wrappers):  # whose starts differ
            compare_rewards(ours, theirs)
        ours.close(), theirs.close()


def compare_rewards(ours: gymnasium.Env, theirs: gymnasium.Env) -> None:
    """Plays the same actions in both."""
    ours.reset(seed=3), theirs.reset(seed=3)
    ours.action_space.seed(3)
    for _ in range(20):
        action = ours.action_space.sample()
        _, reward, terminated, truncated, _ = ours.step(action)
        _, expected, *ends, _ = theirs.step(action)
        if np.ndim(expected):  # several members or aims: Gymnasium's contract asks for their sum
            expected = np.sum(expected)
        assert reward == pytest.approx(expected), ours.spec.id
        assert [terminated, truncated] == [np.all(end) for end in ends], ours.spec.id
        if terminated or truncated:
            break


def test_a_model_knows_a_shorter_row_by_the_name_that_it_was_trained_under():
    assert known_as("Taxi-v4-short", ["Taxi-v4", "CartPole-v1"]) == "Taxi-v4"
    assert known_as("Taxi-v4-short", ["Taxi-v4", "Taxi-v4-short"]) == "Taxi-v4-short"
    assert known_as("Taxi-v4-short", ["CartPole-v1"]) == "Taxi-v4-short"
    assert known_as("Taxi-v4", ["Taxi-v4-short"]) == "Taxi-v4"
