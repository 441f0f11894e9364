"""Rules for the small worlds of MO-Gymnasium (Felten et al. 2023), for the sum of their objectives."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.references.search import Cell, cell_towards, steps_to
from ldm_hf.spaces import Action, Info, Observation


def _cell(place: np.ndarray) -> Cell:
    return int(place[0]), int(place[1])


def _step(here: Cell, distances: dict[Cell, int], there: Cell, moves: tuple[Cell, ...]) -> np.int64:
    """The move to the neighbour that is nearest to a cell; moves are changes of row and column by action."""
    row, column = cell_towards(distances, here, there)
    change = row - here[0], column - here[1]
    return np.int64(moves.index(change) if change in moves else 0)


class TreasureHunter(Reference):
    """Dives for the treasure whose value exceeds the steps to it by most."""

    name = "treasure_hunter"
    method = "planner"
    worlds = ("DeepSeaTreasure",)
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    size = 11  # rows and columns that can be entered, also of the mirrored map

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        sea = world.sea_map[: self.size, : self.size]
        here = _cell(world.current_state)
        best = -np.inf
        way: tuple[dict[Cell, int], Cell] = ({}, here)
        for treasure in map(_cell, np.argwhere(sea > 0)):
            walls = (sea != 0).astype(int)  # other treasures end the dive
            walls[treasure] = 0
            distances = steps_to(walls, treasure)
            if here in distances and sea[treasure] - distances[here] > best:
                best, way = sea[treasure] - distances[here], (distances, treasure)
        return _step(here, *way, self.moves)


class ItemCollector(Reference):
    """Collects the nearest item until none is left, then goes to the goal, which ends the episode."""

    name = "item_collector"
    worlds = ("FourRoom",)
    moves = ((0, -1), (-1, 0), (0, 1), (1, 0))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        here, collected = world.state
        walls = (world.maze == "X").astype(int)
        wanted = [cell for cell, number in world.shape_ids.items() if not collected[number]]
        if wanted:
            walls[world.goal] = 1
        else:
            wanted = [world.goal]
        distances = steps_to(walls, here)
        target = min((cell for cell in wanted if cell in distances), key=lambda cell: distances[cell])
        return _step(here, steps_to(walls, target), target, self.moves)


class ResourceGatherer(Reference):
    """Fetches gold and gem by ways without enemies, which cost nothing but time, and brings them home."""

    name = "resource_gatherer"
    worlds = ("ResourceGathering",)
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        here = _cell(world.current_pos)
        kind = "R1" if not world.has_gold else "R2" if not world.has_gem else "H"
        target = _cell(np.argwhere(world.map == kind)[0])
        closed = ("E1", "E2") if kind == "H" else ("E1", "E2", "H")
        return _step(here, steps_to(np.isin(world.map, closed).astype(int), target), target, self.moves)


class BottleCarrier(Reference):
    """Carries as many bottles at a time as are still asked for: one that is dropped costs less than going twice."""

    name = "bottle_carrier"
    worlds = ("BreakableBottles",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        if world.bottles_carrying and (world.location or world.bottles_carrying + world.bottles_delivered >= 2):
            return np.int64(world.RIGHT)
        return np.int64(world.LEFT if world.location else world.PICKUP)


class FruitPicker(Reference):
    """Takes the branch that leads to the fruit with the most nutrients."""

    name = "fruit_picker"
    method = "planner"
    worlds = ("FruitTreeEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        depth = world.tree_depth
        row, place = (int(value) for value in world.current_state)
        fruits = world.tree[2**depth - 1 :].sum(1).reshape(2**row, -1)[place]
        return np.int64(fruits.argmax() >= len(fruits) // 2)


class Miner(Reference):
    """Drives to a mine, fills the cart and drives home; turns wherever that brings the heading nearer.

    Args:
        env: the mines.
        mine: number of the mine.
        out: number of pushes on the way out; each costs fuel, as does time.
        back: number of pushes on the way home.
    """

    name = "miner"
    worlds = ("Minecart",)
    push, turn = 0.03, 40.0  # speed by a push, degrees of a turn

    def __init__(self, env: gymnasium.Env, mine: int = 2, out: int = 3, back: int = 3) -> None:
        self.mine, self.out, self.back = mine, out, back

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, int]]:
        mines = range(len(inside(env).mines))
        return [{"mine": mine, "out": out, "back": back} for mine in mines for out in (1, 2, 3) for back in (1, 2, 3)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        mine_ore, left, right, accelerate, brake, nothing = range(6)
        world = inside(env)
        cart, mine = world.cart, world.mines[self.mine]
        full = cart.content.sum() > 0.9 * world.capacity
        if not full and mine.mineable(cart):
            return np.int64(brake if cart.speed > 1e-3 else mine_ore)
        across, down = -cart.pos if full else mine.pos - cart.pos
        error = (np.degrees(np.arctan2(down, across)) - cart.angle + 180) % 360 - 180
        if abs(error) > self.turn / 2 + 1:
            return np.int64(right if error > 0 else left)
        pushes = self.back if full else self.out
        return np.int64(accelerate if cart.speed < (pushes - 0.5) * self.push else nothing)


class DamKeeper(Reference):
    """Releases the demand, and of what is above it all but a part that is kept for later.

    Args:
        env: the water reservoir.
        kept: level that is kept for the next steps, in which the inflow is less than the demand.
    """

    name = "dam_keeper"
    worlds = ("DamEnv",)

    def __init__(self, env: gymnasium.Env, kept: float = 10.0) -> None:
        self.kept = kept

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"kept": kept} for kept in (0.0, 5.0, 10.0, 15.0, 20.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        level = np.asarray(world.state, float)
        return bounded(np.maximum(np.minimum(level, world.W_IRR), level - self.kept), env.action_space)
