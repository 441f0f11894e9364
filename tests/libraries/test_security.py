"""Games of attack and defence: a hand-made one that needs no library, and those of the libraries where they are."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.csle_common import environment
from ldm_hf.libraries.csle_common.environment import ALERTS, Game, SecurityGameEnv
from ldm_hf.libraries.csle_common.policies import BestAttack, BestDefence
from ldm_hf.libraries.gym_idsgame.policies import WatchfulDefence, WeakestPath
from ldm_hf.references import Reference, load_reference

from ..environments.test_environments import marks


@pytest.fixture
def burglary(monkeypatch):
    """Two states, safe and taken: the defender's choice 1 frees what is taken, the attacker's takes what is safe."""
    transitions = np.zeros((2, 2, 2, 2))
    transitions[0, 0] = np.eye(2)
    transitions[0, 1, :, 1] = 1.0
    transitions[1, :, :, 0] = 1.0
    rewards = np.broadcast_to(np.array([[0.0, -2.0], [-1.0, 1.0]])[:, None], (2, 2, 2)).copy()
    rewards[:, 1, 1] += 1.0  # to attack what is taken already only helps the defender
    alerts = np.zeros((2, ALERTS + 1))
    alerts[0, :6], alerts[1, 4:8] = 1 / 6, 1 / 4  # four and five alerts leave the state open
    game = Game(
        transitions=transitions,
        rewards=rewards,
        alerts=np.broadcast_to(alerts, (2, 2, 2, ALERTS + 1)),
        seen=np.zeros(2),
        attacked=np.arange(2.0),
        terminal=np.zeros(2, bool),
        start=0,
        attack=np.array([[0.7, 0.3], [1.0, 0.0]]),
        answer=1,
    )
    monkeypatch.setitem(environment.GAMES, "burglary", lambda: game)

    def side(role: str) -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(SecurityGameEnv("burglary", role), 100)

    return side


class Constant(Reference):
    """Makes the same choice always."""

    def __init__(self, choice):
        self.choice = choice

    def act(self, env, observation, info):
        return self.choice


def returns(env, policy, seeds=range(20)):
    """Mean return of episodes."""
    totals = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        policy.reset(env)
        total, over = 0.0, False
        while not over:
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, info = env.step(policy.act(env, observation, info))
            total, over = total + reward, terminated or truncated
        totals.append(total)
    return float(np.mean(totals))


@pytest.mark.parametrize(("role", "policy"), [("defend", BestDefence), ("attack", BestAttack)])
def test_the_best_answer_is_better_than_any_constant_one(burglary, role, policy):
    env = burglary(role)
    reference = policy(env)
    best = returns(env, reference)
    assert policy.fits(env) and best > 5 + max(returns(env, Constant(choice)) for choice in (0, 1))
    assert best == returns(env, reference)


def test_the_belief_follows_bayes_rule(burglary):
    env = burglary("defend")
    env.reset(seed=0)
    while env.unwrapped.count not in (4, 5):
        env.reset(seed=int(env.unwrapped.np_random.integers(2**31)))
        env.step(0)
    # safe with 0.7 and one count of six, taken with 0.3 and one of four
    taken = 0.3 / 4
    assert env.unwrapped.belief[1] == pytest.approx(taken / (taken + 0.7 / 6))


class Network:
    """Two servers side by side before the data: start 3, servers 1 and 2, data 0."""

    places = ((0, 0), (1, 0), (1, 1), (2, 0))
    node_list = (0, 1, 1, 2)
    data_pos = (0, 0)
    adjacency_matrix = np.zeros((6, 6), int)
    for one, other in ((0, 2), (0, 3), (2, 4), (3, 4)):
        adjacency_matrix[one, other] = adjacency_matrix[other, one] = 1

    def get_node_pos(self, node):
        return self.places[node]

    def get_node_id(self, place):
        return self.places.index(place)

    def get_adjacency_matrix_id(self, row, column):
        return 2 * row + column


def test_attacks_take_the_weak_way_and_defence_closes_it():
    state = SimpleNamespace(
        attacker_pos=(2, 0),
        attack_values=np.zeros((4, 3), int),
        defense_values=np.array([[2, 2, 2], [3, 3, 3], [2, 0, 2], [0, 0, 0]]),
        defense_det=np.array([2, 2, 2, 0]),
    )
    settings = SimpleNamespace(network_config=Network(), num_attack_types=3, max_value=9)
    world = SimpleNamespace(game=SimpleNamespace(state=state), settings=settings)
    env = SimpleNamespace(unwrapped=world)
    assert WeakestPath(env).act(env, None, {}) == 2 * 3 + 1  # the second server, the second kind of attack
    assert WatchfulDefence(env).act(env, None, {}) == 2 * 4 + 1


@pytest.mark.parametrize(
    ("name", "least"),
    [
        pytest.param("csle-stopping-defend-late", 5, marks=marks("csle-common")),
        pytest.param("csle-response-defend", 20, marks=marks("csle-common")),
        pytest.param("csle-apt-attack", 40, marks=marks("csle-common")),
        pytest.param("idsgame-attack-minimal-v2", 0, marks=marks("gym-idsgame")),
        pytest.param("idsgame-defend-maximal-v2", 1, marks=marks("gym-idsgame")),
    ],
)
def test_what_four_episodes_reach(name, least):
    env = make(name)
    assert returns(env, load_reference(get_spec(name), "nowhere"), seeds=range(4)) >= least
    env.close()
