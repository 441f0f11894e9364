"""Rules, searches and dynamic programs: what they reach in a few short episodes, and that their actions are legal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.errors import EnvironmentFailure
from ldm_hf.references.loading import policy_of

MODULES = {
    "or-": "or_gymnasium",
    "rddl": "pyRDDLGym",
    "MinAtar": "minatar",
    "Hedge": "QuantLib",
    "Exercise": "QuantLib",
    "Car": "Box2D",
    "BabyAI": "minigrid",
    "PushT": "gym_pusht",
}


def opened(name):
    """The environment, if its library is installed."""
    spec = get_spec(name)
    pytest.importorskip(
        next((module for start, module in MODULES.items() if name.startswith(start)), spec.library.replace("-", "_"))
    )
    return make(name)


def played(name, policy, seed=7, steps=1000, **kwargs):
    """The return of one episode, and the last info."""
    env = opened(name)
    reference = policy_of(name, policy)(env, **kwargs)
    observation, info = env.reset(seed=seed)
    reference.reset(env)
    total = 0.0
    for _ in range(steps):
        action = reference.act(env, observation, info)
        assert env.action_space.contains(action), action
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        if terminated or truncated:
            break
    env.close()
    return total, info


@pytest.mark.parametrize(
    ("name", "policy", "least"),
    [
        ("or-Knapsack-v1", "or_knapsack", 1500),
        ("or-Knapsack-v3", "or_online_knapsack", 350),
        ("or-BinPacking-v0", "or_bin_packing", -40),
        ("or-Newsvendor-v0", "or_newsvendor", 0),
        ("or-VMPacking-v0", "or_vm_packing", -900),
        ("or-TSP-v0", "or_tsp", 940),  # 951 is a way that visits every node once
        ("or-TSP-v1", "or_tsp_distance", 37),
        ("or-InvManagement-v1", "or_chain_base_stock", 350),
        ("or-PortfolioOpt-v0", "or_portfolio", 1000),
        ("or-VehicleRouting-v0", "or_courier", 30),
        ("four-room-v0", "item_collector", 15),
        ("deep-sea-treasure-v0", "treasure_hunter", 7),
        ("resource-gathering-v0", "resource_gatherer", 2),
        ("breakable-bottles-v0", "bottle_carrier", 25),
        ("fruit-tree-v0", "fruit_picker", 23),
        ("minecart-v0", "miner", 0.1),
        ("water-reservoir-v0", "dam_keeper", -1600),
        ("Hedge-call-v0", "delta_hedge", -4),
        ("Hedge-lookback-v0", "delta_hedge", -8),
        ("Exercise-put-v0", "early_exercise", 0),
        ("FlappyBird", "gap_flyer", 50),  # a pipe takes about 36 frames, of a tenth each, and pays one
        ("rddl-TowerOfHanoi-arcade", "rddl_hanoi", 5),  # fifteen moves, then one for each step that is left
        ("rddl-Sudoku-arcade-0", "rddl_sudoku", 89),
        ("rddl-Intruders-Discrete", "rddl_intruders", -30),
        ("rddl-ChromaticDice-ippc2018-5", "rddl_dice", 120),
        ("rddl-CooperativeRecon-MDP-ippc2011-5", "rddl_recon", 10),
        ("rddl-Logistics-rddlsim", "rddl_logistics", 150),
        ("rddl-Quadcopter-physics-0", "rddl_quadcopter", -10_000),
        ("rddl-RecSim-ippc2023-0", "rddl_recommender", 150),
        ("rddl-Sokoban-arcade", "rddl_sokoban", 21),  # both boxes are stored after eight steps
        ("rddl-SupplyChain-or", "rddl_supply", 5000),
        ("rddl-TrafficBLX-ComplexPhases", "rddl_lights", -10_000),
        ("rddl-TrafficBLX-SimplePhases", "rddl_lights", -9_800),
        ("rddl-TriangleTireworld-MDP-ippc2014-1", "rddl_tireworld", 80),
        ("rddl-Wildfire-MDP-ippc2014-10", "rddl_wildfire", -20_000),
        ("BabyAI-KeyInBox-v0", "room_opener", 0.9),
        ("MiniGrid-BlockedUnlockPickup-v0", "room_opener", 0.9),
        ("MiniGrid-KeyCorridorS6R3-v0", "room_opener", 0.9),
        ("MiniGrid-LockedRoom-v0", "room_opener", 0.7),
        ("MiniGrid-ObstructedMaze-Full-v1", "room_opener", 0.9),
        ("FetchSlideDense-v4", "slide", -20),
        ("DynamicInventory-v0-short", "ordering_program", -1000),
        ("DynamicInventory-free-orders-v0", "ordering_program", -700),
        ("SafetyGrid-Base", "safe_way", 1),
        ("SafetyGrid-Island", "safe_way", 46),
        ("SafetyGrid-Sokoban", "safe_way", 45),
        ("pgtg-generalization-2x2", "track_driver", 3),
    ],
)
def test_what_one_episode_reaches(name, policy, least):
    assert played(name, policy)[0] >= least


@pytest.mark.parametrize(
    ("name", "policy", "steps", "least"),
    [
        ("MinAtar-Asterix", "minatar_asterix", 60, 1),
        ("racetrack-v0", "lane_follower", 60, 50),  # at most one a step
        ("roundabout-v0", "highway_lookahead", 4, 3),
        ("CarRacing-v3", "racing_driver", 80, 40),
        ("Crafter", "crafter_script", 150, 6),  # one for each of 22 things done for the first time
        ("rddl-Tetris-arcade", "rddl_tetris", 12, 100),
        ("PushT", "push_planner", 100, 10),
    ],
)
def test_the_first_steps_are_good(name, policy, steps, least):
    assert played(name, policy, steps=steps)[0] >= least


def test_the_car_parks():
    total, info = played("parking-v0", "parking_planner")
    assert info["is_success"] and total > -15


def test_a_knapsack_is_packed_as_well_as_can_be():
    env = opened("or-Knapsack-v1")
    world = env.unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        world.item_weights, world.item_values = np.full(world.N, 300), np.zeros(world.N, int)
        world.item_weights[:8], world.item_values[:8] = rng.integers(20, 90, 8), rng.integers(1, 99, 8)
        sets = itertools.chain.from_iterable(itertools.combinations(range(8), size) for size in range(9))
        fitting = [list(chosen) for chosen in sets if world.item_weights[list(chosen)].sum() <= world.max_weight]
        best = max(world.item_values[chosen].sum() for chosen in fitting)
        observation, info = env.reset()
        packed, policy, over = 0.0, policy_of("or-Knapsack-v1", "or_knapsack")(env), False
        while not over:
            observation, reward, over, _, info = env.step(policy.act(env, observation, info))
            packed += reward
        assert packed == best
    env.close()


def test_items_are_the_same_wherever_the_problem_is_made():
    first, second = opened("or-Knapsack-v0"), opened("or-Knapsack-v0")
    assert (first.unwrapped.item_weights == second.unwrapped.item_weights).all()


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"option": "swaption"}, "'swaption' is none of call"),
        ({"option": "asian", "process": "heston"}, "give option='call'"),
    ],
)
def test_an_option_that_cannot_be_valued_is_named(kwargs, said):
    from dataclasses import replace

    opened("Hedge-call-v0").close()
    with pytest.raises(EnvironmentFailure, match=said):
        make(replace(get_spec("Hedge-call-v0"), kwargs=kwargs))
