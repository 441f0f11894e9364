"""Reference policies: better than random, right where the answer is known, and saved without pickle."""

import json
import pickle
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from ldm_hf.environments import EnvironmentSpec, get_spec, installed_version, make
from ldm_hf.errors import CheckpointError
from ldm_hf.libraries.minigrid.policies import BabyAIBot
from ldm_hf.libraries.nasim.policies import AttackPlanner
from ldm_hf.references import general, load_reference, method_of
from ldm_hf.references.general import Gait, value_iteration
from ldm_hf.references.learned import training
from ldm_hf.references.learned.training import train_reference
from ldm_hf.rollouts import HELD_OUT_SEED, RandomPolicy, ReferencePolicy, rollout

from ..catalogue_sample import representatives
from ..recorded import record_episode

SLOW_LIBRARIES = (
    "metaworld",
    "highway-env",
    "ale-py",
    "gymnasium-robotics",
    "JSSEnv",
    "dm-control",
    "ogbench",
    "rware",
)
# Some of the rows that were given a reference because another row of their family has it: the extremes of each family.
VARIANTS = (
    "BabyAI-UnlockPickup-v0",
    "BabyAI-PutNextS4N1-v0",
    "BabyAI-OpenDoorsOrderN2-v0",
    "BaseStock-lead0-v0",
    "BaseStock-demand20-lead4-v0",
    "CartPole-gravity1.62-v1",
    "CartPole-length1.5-v1",
    "CartPole-mass1-v1",
    "FixedOrderCost-fixed80-demand12-v0",
    "FrozenLake-spiral-dry-v1",
    "HomeBattery-flat-v0",
    "HomeBattery-midday-v0",
    "HomeBattery-panels0-v0",
    "LunarLanderContinuous-wind10-v3",
    "MountainCar-gravity0.002-v0",
    "SerialSupplyChain-stockout40-v0",
    "StocksReverting-pull0.05-v0",
    "StocksTrending-memory0.5-v0",
    "Taxi-rainy-fickle-v4",
    "nasim-h5-s3-firewall1",
    "nasim-h30-s5-mixed",
    "nasim-h5-s5-mixed",
    "nasim-medium-multi-site",
    "nasim-small-honeypot",
    "ogbench-cube-single-task1-v0",
    "ogbench-pointmaze-medium-task1-v0",
    "ogbench-puzzle-3x3-task1-v0",
    "popgym-RepeatPreviousHard-v0",
    "rware-tiny-2ag-v2",
    "StocksTrending-cost0.25-v0",
)
# One row of each kind that an expert was found for by `ldm reference`.
FOUND = (
    "Acrobot-mass2-v1",
    "FetchPickAndPlace-v4",
    "FetchPush-v4",
    "Foraging-5x5-2p-1f-v3",
    "InvertedDoublePendulum-moon-v5",
    "JobShop-ta01",
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-Dynamic-Obstacles-8x8-v0",
    "PointMaze_UMaze-v3",
    "Reacher-costly-v5",
    "bsuite-cartpole",
    "bsuite-cartpole-swingup-0.5-0.5",
    "bsuite-catch-noise-0.3",
    "bsuite-deep-sea-10",
    "bsuite-discounting-chain",
    "bsuite-memory-len-5",
    "bsuite-mountain-car",
    "dm-cartpole-swingup-v0",
    "dm-lqr-lqr_6_2-v0",
    "dm-pendulum-swingup-v0",
    "dm-reacher-easy-v0",
    "invmgmt-network-lost-sales",
    "invmgmt-serial-goodwill",
    "popgym-AutoencodeEasy-v0",
    "popgym-BattleshipEasy-v0",
    "popgym-ConcentrationHard-v0",
    "popgym-CountRecallHard-v0",
    "popgym-HigherLowerEasy-v0",
    "popgym-MineSweeperEasy-v0",
    "popgym-MultiarmedBanditEasy-v0",
    "popgym-NoisyPositionOnlyPendulumEasy-v0",
    "popgym-VelocityOnlyCartpoleEasy-v0",
)


def rows() -> list:
    """Names of `representatives`, `VARIANTS`, `FOUND` whose reference needs no training; slow libraries are marked."""
    chosen = [get_spec(name) for name in representatives()]
    names = [spec.name for spec in chosen if spec.reference and installed_version(spec.library)]
    return [
        pytest.param(name, marks=[pytest.mark.slow] if get_spec(name).library in SLOW_LIBRARIES else [])
        for name in [*names, *VARIANTS, *FOUND]
        if name in FOUND or method_of(get_spec(name)) not in ("none", "rl")
    ]


def returns(spec: EnvironmentSpec, policy, episodes: int, seed: int = HELD_OUT_SEED) -> np.ndarray:
    return rollout(lambda: make(spec), policy, episodes, seed, num_envs=1, name=spec.name)


# Steps in which the difference shows, where a whole episode with its pictures takes ten seconds.
SHORTENED = {"CarRacing-v3": 200}
# Episodes; by Student's t, 7.5 standard errors are as rare in them by chance as three are in 20 (p = 0.002).
FEWEST = 3


def errors_between(random: np.ndarray, reference: np.ndarray) -> float:
    """By how many standard errors the reference's mean return is higher; infinite where all returns are alike."""
    error = np.sqrt((random.var() + reference.var()) / len(random))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (reference.mean() - random.mean()) / error


# --- all that need no training -------------------------------------------------------------------------------------


def short_ones() -> list:
    """`rows` without games of Atari that last for minutes; the suite `jat` has their scores (libraries/test_atari)."""
    return [row for row in rows() if not row.values[0].startswith("ALE-") or row.values[0] == "ALE-Freeway-v5-short"]


@pytest.mark.parametrize("name", short_ones())
def test_references_are_clearly_better_than_random(name):
    spec = get_spec(name)
    spec = replace(spec, max_episode_steps=SHORTENED.get(name, spec.max_episode_steps))
    few = (
        spec.library in ("metaworld", "ale-py", "MinAtar", "dm-control", "ogbench", "rware", "evcrl")
        or name == "highway-fast-v0"
    )
    episodes = max(spec.episodes, 6 if few else 20)
    policies = (RandomPolicy(), ReferencePolicy(lambda: load_reference(spec, "nowhere")))
    found = [returns(spec, policy, FEWEST) for policy in policies]
    if not 7.5 < errors_between(*found) < np.inf:  # otherwise, no further episodes need tell
        more = (returns(spec, policy, episodes - FEWEST, HELD_OUT_SEED + FEWEST) for policy in policies)
        assert errors_between(*(np.append(*both) for both in zip(found, more, strict=True))) > 3


@pytest.mark.parametrize("name", rows())
def test_actions_of_references_are_members_of_the_space(name):
    env = make(name)
    reference = load_reference(get_spec(name), "nowhere")
    observation, info = env.reset(seed=0)
    reference.reset(env)
    for _ in range(15):
        action = reference.act(env, observation, info)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            observation, info = env.reset()
            reference.reset(env)
    env.close()


# --- where the answer is known -------------------------------------------------------------------------------------


def test_value_iteration_solves_a_small_problem():
    table = {
        0: {0: [(1.0, 0, 1.0, False)], 1: [(1.0, 1, 5.0, True)]},
        1: {0: [(0.5, 0, 0.0, False), (0.5, 1, 1.0, False)], 1: [(1.0, 0, 0.5, True)]},
    }
    # By hand, at a discount of 1/2: V(0) = 5 (leave at once), and V(1) = (0 + V(0)/2)/2 + (1 + V(1)/2)/2 = 7/3.
    q = value_iteration(table, discount=0.5)
    np.testing.assert_allclose(q, [[1 + 0.5 * 5, 5], [7 / 3, 0.5]], atol=1e-8)


def test_value_iteration_agrees_with_the_linear_equations_of_its_policy():
    table = make("FrozenLake-v1").unwrapped.P
    q = value_iteration(table, discount=0.99)
    policy = q.round(8).argmax(1)
    transition, reward = np.zeros((16, 16)), np.zeros(16)
    for state, action in enumerate(policy):
        for probability, following, gain, terminated in table[state][action]:
            transition[state, following] += probability * (not terminated)
            reward[state] += probability * gain
    np.testing.assert_allclose(np.linalg.solve(np.eye(16) - 0.99 * transition, reward), q.max(1), atol=1e-6)


def test_blackjack_reaches_the_published_value_of_basic_strategy():
    spec = get_spec("Blackjack-v1")
    found = returns(spec, ReferencePolicy(lambda: load_reference(spec, "nowhere")), episodes=20_000)
    assert found.mean() == pytest.approx(-0.046, abs=3 * found.std() / np.sqrt(20_000))  # no splitting, no doubling


def test_linear_feedback_keeps_the_pole_up_to_the_end():
    spec = get_spec("CartPole-v1")
    assert (returns(spec, ReferencePolicy(lambda: load_reference(spec, "nowhere")), episodes=20) == 500).all()


@pytest.mark.parametrize("name", ["HomeBattery-v0", "HomeBattery-small-v0"])
def test_the_battery_program_saves_money(name):
    class Idle:
        reset = staticmethod(lambda env: None)
        act = staticmethod(lambda env, observation, info: np.zeros(1, np.float32))

    spec = get_spec(name)
    idle, planned = (
        returns(spec, ReferencePolicy(policy), episodes=20)
        for policy in (Idle, lambda: load_reference(spec, "nowhere"))
    )
    assert (planned > idle).all()  # the same days


def test_the_memory_games_are_played_without_a_mistake():
    for name in ("popgym-RepeatPreviousEasy-v0", "popgym-RepeatFirstEasy-v0"):
        spec = get_spec(name)
        found = returns(spec, ReferencePolicy(lambda spec=spec: load_reference(spec, "nowhere")), episodes=5)
        np.testing.assert_allclose(found, 1.0)


def test_the_maze_search_takes_the_shortest_way():
    spec = get_spec("MiniGrid-Empty-5x5-v0")
    found = returns(spec, ReferencePolicy(lambda: load_reference(spec, "nowhere")), episodes=3)
    np.testing.assert_allclose(found, 1 - 0.9 * 5 / 100)  # two steps, a turn, two steps


def test_the_diver_of_the_deep_sea_turns_back_when_the_treasure_is_out_of_reach():
    spec = get_spec("bsuite-deep-sea-10")
    env, reference = make(spec), load_reference(spec, "nowhere")
    observation, info = env.reset(seed=0)
    foreign = 1 - reference.act(env, observation, info)  # to the left: a row too deep from now on
    total = 0.0
    for action in [foreign, *[None] * 9]:
        observation, reward, over, _, info = env.step(
            reference.act(env, observation, info) if action is None else action
        )
        total += reward
    assert over and total == 0  # every step to the right would have cost 0.001


# --- after foreign actions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BabyAI-PickupDist-v0", "BabyAI-OpenDoorColor-v0", "BabyAI-GoToLocalS7N4-v0"])
def test_the_babyai_bot_keeps_going_after_foreign_actions(name):
    spec = get_spec(name)
    env, reference = make(spec), load_reference(spec, "nowhere")
    foreign = 0
    for seed in range(40):
        episode = record_episode(env, reference, seed, share=0.3, name=name)
        foreign += (episode["action"][""] != episode["label"][""]).sum()
        assert episode["reward"].sum() > 0  # the mission is accomplished all the same
    assert foreign > 5
    for seed in range(5):  # all actions are foreign, so that there may be no plan any more: still an answer
        episode = record_episode(env, reference, seed, share=3.0, name=name)
        assert all(env.action_space.contains(label) for label in episode["label"][""])


def play_babyai(name, seed):
    """Whether the bot accomplishes its mission, and its policy afterwards."""
    env = make(get_spec(name))
    reference = BabyAIBot(env)
    observation, info = env.reset(seed=seed)
    reference.reset(env)
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(reference.act(env, observation, info))
        over = terminated or truncated
    return reward > 0, reference


@pytest.mark.parametrize("seed", range(3))
def test_the_babyai_bot_puts_down_what_it_carries_at_the_start(seed):
    assert play_babyai("BabyAI-PutNextS5N2Carrying-v0", seed)[0]


def test_the_babyai_bot_gives_up_a_plan_that_goes_in_circles():
    accomplished, reference = play_babyai("BabyAI-UnlockToUnlock-v0", 4)
    assert not accomplished and reference.lost
    assert play_babyai("BabyAI-UnlockToUnlock-v0", 3)[0]


@pytest.mark.parametrize("name", ["MiniGrid-DoorKey-8x8-v0", "MiniGrid-Empty-8x8-v0"])
def test_the_maze_search_plans_anew_after_foreign_actions(name):
    spec = get_spec(name)
    env, reference = make(spec), load_reference(spec, "nowhere")
    for seed in range(10):
        episode = record_episode(env, reference, seed, share=0.3, name=name)
        assert episode["reward"].sum() > 0


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_attack_planner_takes_the_network(share):
    spec = get_spec("nasim-tiny")
    env, reference = make(spec), load_reference(spec, "nowhere")
    episodes = [record_episode(env, reference, seed, share, spec.name) for seed in range(10)]
    assert all(episode["terminated"][-1] for episode in episodes)
    scores = [episode["reward"].sum() for episode in episodes]
    bound = env.unwrapped.get_score_upper_bound()  # as if no exploit ever failed and no detour was needed
    assert np.mean(scores) >= (0.97 if share == 0 else 0.9) * bound
    assert max(scores) <= bound


@pytest.mark.parametrize("name", ["nasim-small", "nasim-small-honeypot", "nasim-h4-s5-mixed"])
def test_one_host_of_a_subnet_is_enough_for_an_attack(name):
    env = make(name)
    env.reset(seed=0)
    few, all_of_them = AttackPlanner(env), AttackPlanner(env)
    assert few.search(env.unwrapped.current_state, all_hosts=False)
    assert all_of_them.search(env.unwrapped.current_state, all_hosts=True)
    assert few.plans == all_of_them.plans


def test_the_attack_planner_finds_a_way_round_the_firewall_of_a_host():
    env = make("nasim-small")
    network = env.unwrapped.network
    entrance, goal = (3, 1), (4, 0)  # the host that is the cheapest to go through
    network.hosts[goal].firewall[entrance] = env.unwrapped.scenario.services
    reference = AttackPlanner(env)
    observation, info = env.reset(seed=0)
    reference.reset(env)
    terminated = truncated = False
    while not (terminated or truncated):
        action = reference.act(env, observation, info)
        observation, _, terminated, truncated, info = env.step(action)
    assert terminated


def test_the_freeway_planner_crosses_often():
    spec = get_spec("MinAtar-Freeway")
    scores = returns(spec, ReferencePolicy(lambda: load_reference(spec, "nowhere")), episodes=4)
    assert scores.min() >= 10


def test_a_gait_is_found_again_and_moves(monkeypatch):
    monkeypatch.setattr(general, "POPULATION", 6)
    monkeypatch.setattr(general, "GENERATIONS", 3)
    env = make(replace(get_spec("Swimmer-v5"), max_episode_steps=100))
    found, again = Gait.variants(env), Gait.variants(env)
    assert found == again
    rest = Gait(env, [1.0] + 6 * [0.0])
    assert Gait(env, **found[0]).play(env) > rest.play(env) + 1


# --- reinforcement learning ------------------------------------------------------------------------------------------

SPEC = replace(
    get_spec("CartPole-v1"),
    reference="rl",
    # ends at the first evaluation that reaches the target
    reference_kwargs={
        "n_envs": 4,
        "n_steps": 128,
        "normalize": True,
        "net_arch": [32, 16],
        "seconds": 12,
        "target": 60,
    },
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    return folder, train_reference(SPEC, folder, seed=1)


def copied(trained, tmp_path):
    """A folder of one's own with the trained policy."""
    folder = tmp_path / "references"
    (folder / SPEC.name).mkdir(parents=True)
    for path in (trained[0] / SPEC.name).iterdir():
        (folder / SPEC.name / path.name).write_bytes(path.read_bytes())
    return folder


def test_training_tells_what_it_did(trained):
    folder, record = trained
    assert {"method": "rl", "algorithm": "PPO", "seed": 1}.items() <= record.items()
    assert record["steps"] > 0 and 0 < record["seconds"] < 60 and np.isfinite(record["score"])
    assert record["hyperparameters"]["n_steps"] == 128 and record["hyperparameters"]["gamma"] == 0.99
    assert json.loads((folder / SPEC.name / "policy.json").read_text())["record"] == record


def test_policies_are_saved_and_loaded_without_pickle(trained, monkeypatch):
    folder, _ = trained
    assert {path.name for path in (folder / SPEC.name).iterdir()} == {"policy.json", "policy.safetensors"}

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    assert load_reference(SPEC, folder).method == "rl"


def test_a_loaded_policy_acts_as_its_weights_say(trained):
    folder, _ = trained
    reference, weights = load_reference(SPEC, folder), load_file(folder / SPEC.name / "policy.safetensors")
    rng = np.random.default_rng(0)
    chosen, expected = [], []
    for _ in range(200):
        observation = rng.normal(size=4).astype(np.float32) * [1.0, 1.0, 0.2, 1.5]
        chosen.append(int(reference.act(None, observation.astype(np.float32), {})))
        hidden = torch.from_numpy(observation.astype(np.float32))
        hidden = ((hidden - weights["normalize.mean"]) / weights["normalize.deviation"]).clip(-10, 10)
        for layer in ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2"):
            hidden = torch.tanh(weights[f"{layer}.weight"] @ hidden + weights[f"{layer}.bias"])
        expected.append(int((weights["action_net.weight"] @ hidden + weights["action_net.bias"]).argmax()))
    assert chosen == expected
    assert set(chosen) == {0, 1}


def test_a_loaded_policy_scores_as_in_training(trained):
    folder, record = trained
    loaded = returns(SPEC, ReferencePolicy(lambda: load_reference(SPEC, folder)), episodes=10)
    assert loaded.mean() > 0.5 * record["score"]  # other episodes, the same policy
    assert loaded.mean() > 1.2 * returns(SPEC, RandomPolicy(), episodes=10).mean()


def test_a_policy_is_refused_where_the_spaces_differ(trained):
    folder, _ = trained

    class Narrow(gymnasium.ObservationWrapper):
        observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

        def observation(self, observation):
            return observation[:3]

    from ldm_hf.references.learned.policy import ReinforcementLearned

    with pytest.raises(CheckpointError, match=r"CartPole-v1: .*other spaces.*shape \[4\] expected, \[3\] found"):
        ReinforcementLearned.load(folder / SPEC.name, Narrow(make(SPEC)), SPEC.name)
    continuous = replace(SPEC, env_id="MountainCarContinuous-v0")
    with pytest.raises(CheckpointError, match=r"other spaces"):
        load_reference(continuous, folder)


def test_a_missing_policy_tells_the_command(tmp_path):
    with pytest.raises(CheckpointError, match="ldm reference --ids CartPole-v1"):
        load_reference(SPEC, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("policy.json", b'{"observation_space": '),
        ("policy.json", b"{}"),
        ("policy.safetensors", b"\x08\x00\x00"),
        ("policy.safetensors", None),
    ],
)
def test_a_damaged_policy_is_named(trained, tmp_path, name, content):
    folder = copied(trained, tmp_path)
    path = folder / SPEC.name / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"CartPole-v1: .*damaged.*remove the folder and train it again"):
        load_reference(SPEC, folder)


@pytest.mark.parametrize("damage", ["other weights", "no net_arch"])
def test_files_that_do_not_fit_together_are_a_damaged_policy(trained, tmp_path, damage):
    folder = copied(trained, tmp_path)
    if damage == "other weights":
        path = folder / SPEC.name / "policy.safetensors"
        weights = load_file(path)
        del weights["action_net.weight"]
        save_file(weights, path)
    else:
        path = folder / SPEC.name / "policy.json"
        data = json.loads(path.read_text())
        del data["net_arch"]
        path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="damaged"):
        load_reference(SPEC, folder)


def test_a_policy_that_is_there_is_not_trained_again(trained, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("trained")

    folder = copied(trained, tmp_path)
    monkeypatch.setattr(training, "Descent", refuse)
    assert train_reference(SPEC, folder) == trained[1]
    with pytest.raises(AssertionError, match="trained"):
        train_reference(SPEC, folder, force=True)
