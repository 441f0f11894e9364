"""Players for the games of POPGym (Morad et al. 2023).

They remember all that they have seen; unless a docstring says otherwise, they know nothing of what was never shown.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.gymnasium.policies import CartPole, Pendulum
from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

World = Any
"""A game of POPGym: attributes that only the library knows."""


class HiddenCartPole(CartPole):
    """`CartPole` on the whole state, a part of which is hidden or noisy in the observation."""

    name = "hidden_cartpole"
    worlds = ("PositionOnlyCartPole", "VelocityOnlyCartPole")

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super(CartPole, cls).fits(env)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return super().act(env, np.asarray(inside(env).state), info)


class HiddenPendulum(Pendulum):
    """`Pendulum` on the whole state, a part of which is hidden in the observation."""

    name = "hidden_pendulum"
    worlds = ("PositionOnlyPendulum",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super(Pendulum, cls).fits(env)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        angle, speed = inside(env).state
        return super().act(env, (np.cos(angle), np.sin(angle), speed), info)


class Game(Reference):
    """Base of the players of card and board games."""

    method = "scripted"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(self.move(inside(env), observation))

    def move(self, game: World, observation: Observation) -> Action:
        """The action as any integers.

        Args:
            game: the game, inside all wrappers.
            observation: what is shown of it.
        """
        raise NotImplementedError


class Autoencode(Game):
    """Repeats the cards seen, from the last to the first."""

    name = "autoencode"
    worlds = ("Autoencode",)

    def move(self, game: World, observation: Observation) -> Action:
        return game.deck.suits_idx[game.deck["system"][-1]]


class CountRecall(Game):
    """Says how often the asked card was seen."""

    name = "count_recall"
    worlds = ("CountRecall",)

    def move(self, game: World, observation: Observation) -> Action:
        return game.counts[game.query]


class HigherLower(Game):
    """Guesses the side on which more cards are left, of those not seen yet."""

    name = "higher_lower"
    worlds = ("HigherLower",)

    def move(self, game: World, observation: Observation) -> Action:
        left = 4 * game.num_decks - game.state.astype(int)
        return left[observation + 1 :].sum() < left[:observation].sum()  # 0: higher


class MultiarmedBandit(Game):
    """Plays the arm with the highest upper confidence bound on its wins (in the manner of Auer et al. 2002)."""

    name = "multiarmed_bandit"
    worlds = ("MultiarmedBandit",)
    optimism = 0.5

    def reset(self, env: gymnasium.Env) -> None:
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        count = int(env.action_space.n)
        # a prior of one win in two plays
        self.wins, self.plays = np.ones(count), np.full(count, 2.0)
        self.last: int | None = None

    def executed(self, action: Action) -> None:
        self.last = int(action)

    def move(self, game: World, observation: Observation) -> Action:
        if self.last is not None:
            self.wins[self.last] += observation
            self.plays[self.last] += 1
        self.last = int(np.argmax(self.wins / self.plays + self.optimism / np.sqrt(self.plays)))
        return self.last


class Concentration(Game):
    """Turns over a pair if it has seen both cards, else cards that it has not seen."""

    name = "concentration"
    worlds = ("Concentration",)

    def reset(self, env: gymnasium.Env) -> None:
        self.seen: dict[int, int] = {}

    def move(self, game: World, observation: Observation) -> Action:
        self.seen |= {i: int(card) for i, card in enumerate(observation) if card != game.facedown_card}
        turned, done = game.deck["in_play_idx"], set(game.deck["face_up_idx"])
        open_cards = {i: card for i, card in self.seen.items() if i not in done and i not in turned}
        unseen = [i for i in range(len(observation)) if i not in self.seen]
        if turned:
            partners = [i for i, card in open_cards.items() if card == self.seen[turned[0]]]
            return (partners or unseen or list(open_cards) or [0])[0]
        known = list(open_cards.values())
        pairs = [i for i, card in open_cards.items() if known.count(card) > 1]
        return (pairs or unseen or list(open_cards) or [0])[0]


class Battleship(Game):
    """Shoots beside hits, else at every second field in the pattern of a chessboard."""

    name = "battleship"
    worlds = ("Battleship",)

    def move(self, game: World, observation: Observation) -> Action:
        tried = game.guesses.astype(bool)
        hits = tried & game.board.astype(bool)
        padded = np.pad(hits, 1).astype(int)
        beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        dark = np.indices(tried.shape).sum(0) % 2 == 0
        worth = np.where(tried, -1, 2 * beside + dark)
        return np.unravel_index(worth.argmax(), worth.shape)


class MineSweeper(Game):
    """Uncovers what the numbers seen prove to be free, else the field with the least risk by any single number."""

    name = "mine_sweeper"
    worlds = ("MineSweeper",)

    def move(self, game: World, observation: Observation) -> Action:
        seen = game.hidden_grid == 2
        risk = np.where(seen, np.inf, game.num_mines / max((~seen).sum(), 1))
        mines = np.zeros_like(seen)
        for _ in range(2):  # a proven mine proves others free
            for i, j in zip(*np.nonzero(seen), strict=True):
                around = np.s_[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                unknown = ~seen[around] & ~mines[around]
                left = game.neighbor_grid[i, j] - mines[around].sum()
                if left == unknown.sum():
                    mines[around] |= unknown
                elif unknown.any():
                    share = left / unknown.sum()
                    known = risk[around]
                    raised = share if share == 0 else np.maximum(known, share)
                    risk[around] = np.where(unknown & (known > 0), raised, known)
        risk[mines] = 2.0
        return np.unravel_index(risk.argmin(), risk.shape)


class RepeatPrevious(Game):
    """Repeats the suit that was shown k - 1 steps before."""

    name = "repeat_previous"
    worlds = ("RepeatPrevious",)

    def move(self, game: World, observation: Observation) -> Action:
        hand = game.deck["player"]
        return game.deck.suits_idx[hand[-min(game.k, len(hand))]]


class RepeatFirst(Game):
    """Repeats the first suit of the episode."""

    name = "repeat_first"
    worlds = ("RepeatFirst",)

    def move(self, game: World, observation: Observation) -> Action:
        return game.card
