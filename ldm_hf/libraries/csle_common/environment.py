"""Games of a defender and an attacker, whose probabilities and costs CSLE's packages compute (Hammar & Stadler 2022).

CSLE's own environments import its whole emulation platform and draw from no seed, so only its tensors are used. One
side acts; the other one follows a fixed strategy, which is a setting. What the attacker wins, the defender loses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Info

ALERTS = 10  # at most so many alerts of the intrusion detection system in a step
ZONES = 5  # of a network: the first two (redirection, shutdown) cannot work, see `response_game`
FIRST_ZONE = 3  # zone where the node starts


@dataclass(frozen=True)
class Game:
    """A stochastic game whose state the defender does not see.

    Attributes:
        transitions: probabilities of the state after a step, (defender's choices, attacker's choices, S, S).
        rewards: the defender's rewards, (defender's choices, attacker's choices, S).
        alerts: probabilities of 0 to `ALERTS` alerts by the state after a step, (.., .., S, alerts).
        seen: what both sides see of each state, (S,), from 0 to 1.
        attacked: how far the attack is in each state, (S,), from 0 to 1; only the attacker sees it.
        terminal: states that end the episode, (S,).
        start: the first state.
        attack: the attacker's strategy where the defender acts: probabilities of its choices, (S, attacker's choices).
        answer: the defender's choice against many alerts, where the attacker acts.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    alerts: np.ndarray
    seen: np.ndarray
    attacked: np.ndarray
    terminal: np.ndarray
    start: int
    attack: np.ndarray
    answer: int

    def defence(self, threshold: int) -> np.ndarray:
        """A defender that answers so many alerts: probabilities of its choices, (alerts, defender's choices)."""
        strategy = np.zeros((ALERTS + 1, len(self.transitions)))
        strategy[:threshold, 0] = strategy[threshold:, self.answer] = 1.0
        return strategy


def stopping_game(stops: int = 1, haste: float = 0.1) -> Game:
    """Intrusion prevention by multiple optimal stopping: each stop of the defender may throw the attacker out.

    The attacker starts its intrusion by its choice 1, and ends it by the same.

    Args:
        stops: defensive actions; the game ends with the last one.
        haste: probability that the attacker starts in a step, where it does not act.
    """
    from gym_csle_stopping_game.util.stopping_game_util import StoppingGameUtil as Util

    transitions = Util.transition_tensor(stops)  # (stops, 2, 2, 3, 3)
    rewards = Util.reward_tensor(R_SLA=1, R_INT=-5, R_COST=-5, L=stops, R_ST=5)
    alerts = Util.observation_tensor(ALERTS)[0, 0]  # (3, alerts): no intrusion, intrusion, the end
    # states: two for each number of stops left, and the end
    end = 2 * stops
    all_transitions, all_rewards = np.zeros((2, 2, end + 1, end + 1)), np.zeros((2, 2, end + 1))
    all_transitions[:, :, end, end] = 1.0
    for left in range(stops):
        for defence in range(2):
            after = 2 * (left - defence)
            for before in range(2):  # no intrusion, intrusion
                state, row = 2 * left + before, transitions[left, defence, :, before]
                all_transitions[defence, :, state, end] = row[:, 2]
                if after >= 0:
                    all_transitions[defence, :, state, after : after + 2] = row[:, :2]
        all_rewards[:, :, 2 * left : 2 * left + 2] = rewards[left, :, :, :2]
    intruded = np.array([0.0, 1.0] * stops + [0.0])
    start_attack = np.where(intruded, 0.0, haste)
    return Game(
        transitions=all_transitions,
        rewards=all_rewards,
        alerts=np.broadcast_to(np.vstack([alerts[:2]] * stops + [alerts[2:]]), (2, 2, end + 1, ALERTS + 1)),
        seen=np.append(np.repeat(np.arange(1, stops + 1), 2) / stops, 0.0),
        attacked=intruded,
        terminal=np.arange(end + 1) == end,
        start=end - 2,
        attack=np.stack([1 - start_attack, start_attack], axis=1),
        answer=1,
    )


def apt_game(servers: int = 3, success: float = 0.2) -> Game:
    """An advanced persistent threat that takes one server after the other, until the defender recovers all of them.

    Args:
        servers: servers that can be taken.
        success: probability that an attack takes one more.
    """
    from gym_csle_apt_game.util.apt_game_util import AptGameUtil as Util

    transitions = Util.transition_tensor(servers, success)  # (2, 2, S, S)
    costs = Util.cost_tensor(servers)  # (2, S)
    return Game(
        transitions=transitions,
        rewards=np.broadcast_to(-costs[:, None], transitions.shape[:3]),
        alerts=np.broadcast_to(Util.observation_tensor(ALERTS + 1, servers), (2, 2, servers + 1, ALERTS + 1)),
        seen=np.zeros(servers + 1),
        attacked=np.arange(servers + 1) / servers,
        terminal=np.zeros(servers + 1, bool),
        start=0,
        attack=np.tile([0.0, 1.0], (servers + 1, 1)),
        answer=1,
    )


def response_game(success: float = 0.3, detected: float = 0.02, move: float = 2.0) -> Game:
    """Intrusion response at a node: the defender moves it to another zone, which throws the attacker out.

    The attacker waits, looks around, tries passwords or exploits a weakness; it has to look around before it attacks.

    Args:
        success: probability that an attack takes the node.
        detected: probability that an attack is detected, which ends the episode.
        move: cost of moving the node.
    """
    from gym_csle_intrusion_response_game.util.intrusion_response_game_util import IntrusionResponseGameUtil as Util

    zones, states = Util.zones(ZONES), Util.local_state_space(ZONES)  # the first state is the end
    defences, attacks = Util.local_defender_actions(ZONES), Util.local_attacker_actions()
    counts = Util.local_observation_space(ALERTS + 1)
    stage = states[:, 1]
    # by the stage of the attack: nothing, looked around, taken
    strategy = np.array([[0.7, 0.3, 0.0, 0.0], [0.5, 0.0, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0]])
    return Game(
        transitions=Util.local_transition_tensor(
            Util.constant_zone_detection_probabilities(zones, detected),
            Util.local_attack_success_probabilities_uniform(success, attacks),
            states,
            defences,
            attacks,
        ),
        rewards=Util.local_reward_tensor(
            eta=0.5,
            C_D=Util.constant_defender_action_costs(defences, move),
            reachable=True,
            Z_U=Util.constant_zone_utilities(zones, 10.0),
            initial_zone=FIRST_ZONE,
            beta=2.0,
            S=states,
            A1=defences,
            A2=attacks,
        ),
        alerts=Util.local_observation_tensor_betabinom(states, defences, attacks, counts),
        seen=np.maximum(states[:, 0], 0) / ZONES,
        attacked=np.maximum(stage, 0) / 2,
        terminal=stage < 0,
        start=Util.local_initial_state_idx(FIRST_ZONE, states),
        attack=strategy[np.maximum(stage, 0)],
        answer=FIRST_ZONE,
    )


GAMES: dict[str, Callable[..., Game]] = {"stopping": stopping_game, "apt": apt_game, "response": response_game}


class SecurityGameEnv(gymnasium.Env):
    """One side of a game; the reward of a step is that side's.

    The defender sees what both see of the state, and the share of alerts; the attacker sees how far it is, too.

    Args:
        game: one of `GAMES`.
        role: ``defend`` or ``attack``.
        threshold: alerts that the defender answers, where the attacker acts.
        render_mode: not used.
        numbers: settings of the game.
    """

    def __init__(
        self,
        game: str = "stopping",
        role: str = "defend",
        threshold: int = 7,
        render_mode: str | None = None,
        **numbers: float,
    ) -> None:
        self.game, self.defends, self.render_mode = GAMES[game](**numbers), role == "defend", render_mode
        self.defence = self.game.defence(threshold)
        choices = self.game.transitions.shape[0 if self.defends else 1]
        self.action_space = spaces.Discrete(choices)
        self.observation_space = spaces.Box(0.0, 1.0, (2 if self.defends else 3,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.state, self.count = self.game.start, 0
        self.belief = np.eye(len(self.game.seen))[self.state]  # the defender's, by all that it has seen
        return self._observe(), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        game, draw = self.game, self.np_random.choice
        if self.defends:
            defence, attack = int(action), int(draw(game.attack.shape[1], p=game.attack[self.state]))
        else:
            defence, attack = int(draw(self.defence.shape[1], p=self.defence[self.count])), int(action)
        reward = float(game.rewards[defence, attack, self.state])
        self.state = int(draw(len(game.seen), p=game.transitions[defence, attack, self.state]))
        self.count = int(draw(ALERTS + 1, p=game.alerts[defence, attack, self.state]))
        self._update_belief(defence)
        return self._observe(), reward if self.defends else -reward, bool(game.terminal[self.state]), False, {}

    def _update_belief(self, defence: int) -> None:
        """Bayes' rule, given the attacker's strategy, the alerts, and that the episode goes on."""
        game = self.game
        seen = game.alerts[defence, :, :, self.count]  # (attacker's choices, S)
        likely = np.einsum("s,sa,ast,at->t", self.belief, game.attack, game.transitions[defence], seen)
        likely[game.terminal] = 0.0
        if (total := likely.sum()) > 0:
            self.belief = likely / total

    def _observe(self) -> np.ndarray:
        seen = [self.game.seen[self.state], self.count / ALERTS]
        return np.array(seen if self.defends else [*seen, self.game.attacked[self.state]], np.float32)
