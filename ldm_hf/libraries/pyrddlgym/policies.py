"""Policies for problems in RDDL (Sanner 2010): a planner in the model of any, and solvers of a few."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.errors import MissingExtraError
from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

Array = Any
"""An array of JAX, which is imported only when there is something to plan."""
Fluents = dict[str, Array]
"""Values of the state or of an action, by the name of the fluent."""
Carry = tuple[Fluents, Array, Array, Array]
"""State, parameters of the model, whether the episode goes on, and the return so far."""
LookAhead = Callable[[int, Fluents, Array, int], tuple[Array, Array]]
"""From seed, state, mean of the plans and steps to look ahead: the settings of this step, and the mean for the next."""

PLANS = 64  # tried in a round
SCENARIOS = 4  # that each plan is tried in
ROUNDS = 8
ELITE = 8  # plans that the next round is drawn around
DEEPEST = 40  # steps to look ahead, at the most
REACH = 10.0  # range of the first plans where an action has no bounds
BOUNDLESS = 1e6  # a range this wide counts as no bounds
BROKEN = 1e9  # lost by a plan that leads to a state which the problem calls impossible


class RDDLPlanner(Reference):
    """Looks ahead in every step by the cross-entropy method (Rubinstein & Kroese 2004), in the problem's own model.

    A plan gives every action fluent for each of the steps ahead, whatever will be observed. All plans of a round are
    tried in the same random scenarios, and those of the next round are drawn around the best of them. The search
    begins with what the last step planned. JaxPlan (Gimelfarb, Taitler & Sanner 2024) compiles the model.

    Args:
        env: a problem in RDDL.
        depth: steps to look ahead, `DEEPEST` at the most.
    """

    name = "rddl_planner"
    method = "planner"
    worlds = ("RDDLEnv",)

    def __init__(self, env: gymnasium.Env, depth: int = 10) -> None:
        world = inside(env)
        self.depth, self.width = depth, len(world.low)
        self.look_ahead = _compiled(world.problem, world.instance)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"depth": depth} for depth in (5, 10, 20, 40)]

    def reset(self, env: gymnasium.Env) -> None:
        self.step = 0
        self.mean = np.full((DEEPEST, self.width), 0.5, np.float32)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        left = world.simulator.horizon - world.simulator.timestep
        state = world.simulator.sampler.subs
        settings, self.mean = self.look_ahead(self.step, state, self.mean, min(self.depth, left))
        self.step += 1
        return world.action(np.asarray(settings))


@functools.lru_cache(maxsize=8)
def _compiled(problem: str, instance: str) -> LookAhead:
    """Compiles the search for a problem.

    Raises:
        MissingExtraError: if JaxPlan is not installed.
    """
    try:
        import jax
        import jax.numpy as jnp
        from pyRDDLGym_jax.core.compiler import JaxRDDLCompiler
    except ImportError as error:
        raise MissingExtraError("pyRDDLGym-jax", "rddl") from error
    from ldm_hf.libraries.pyrddlgym.adapter import RDDLEnv

    world = RDDLEnv(problem, instance)
    model = JaxRDDLCompiler(world.simulator.model)
    model.compile()
    transition = model.compile_transition(check_constraints=True)
    start, constants = model.split_fluent_nonfluent(model.init_values)
    ranges = world.simulator.model.variable_ranges
    types = {name: model.JAX_TYPES.get(ranges[name.rstrip("'")], model.INT) for name in start}
    limited = world.high.astype(float) - world.low < BOUNDLESS
    low, high = world.low.clip(-BOUNDLESS), world.high.clip(None, BOUNDLESS)
    reach = np.where(limited, high - low, REACH)
    origin = np.where(limited, low, world.defaults - REACH / 2)

    def typed(fluents: Fluents) -> Fluents:
        return {name: jnp.asarray(values, types[name]) for name, values in fluents.items() if name in types}

    def settings(plan: Array) -> Array:
        """The row of action fluents of one step, from numbers around 0 to 1.

        Of the switches, the highest that exceed one half are set, as many as are allowed.
        """
        values = jnp.clip(origin + plan * reach, low, high)
        values = jnp.where(world.whole, jnp.round(values), values)
        if world.allowed < len(plan):
            rank = jnp.argsort(jnp.argsort(-plan))
            values = jnp.where(rank < world.allowed, values, world.defaults)
        return values

    def gain(key: Array, plan: Array, fluents: Fluents, depth: Array) -> Array:
        """The return of a plan in a scenario."""

        def step(number: Array, carry: Carry) -> Carry:
            fluents, parameters, alive, total = carry
            actions = typed(world.fluents(settings(plan[number])))
            now = jax.random.fold_in(key, number)
            fluents, log, parameters = transition(now, actions, fluents, constants, parameters)
            total += jnp.where(alive, log["reward"] - jnp.where(log["invariant"], 0.0, BROKEN), 0.0)
            return typed(fluents), parameters, alive & log["invariant"] & ~log["termination"], total

        begin = (fluents, model.model_aux["params"], jnp.array(True), jnp.zeros((), model.REAL))
        return jnp.nan_to_num(jax.lax.fori_loop(0, depth, step, begin)[-1], nan=-jnp.inf)

    gains = jax.vmap(jax.vmap(gain, (0, None, None, None)), (None, 0, None, None))

    @jax.jit
    def look_ahead(seed: Array, fluents: Fluents, mean: Array, depth: Array) -> tuple[Array, Array]:
        scenarios, *rounds = jax.random.split(jax.random.PRNGKey(seed), ROUNDS + 1)
        scenarios = jax.random.split(scenarios, SCENARIOS)
        best, deviation = mean, jnp.full_like(mean, 0.5)
        for key in rounds:
            noise = jax.random.normal(key, (PLANS, *mean.shape))
            # every second plan does the same in all steps ahead
            noise = noise.at[::2].set(jnp.broadcast_to(noise[::2, :1], noise[::2].shape))
            plans = (mean + deviation * noise).at[0].set(best)
            value = gains(scenarios, plans, fluents, depth).mean(1)
            elite = plans[jnp.argsort(-value)[:ELITE]]
            best, mean, deviation = elite[0], elite.mean(0), elite.std(0) + 0.05
        return settings(best[0]), jnp.concatenate([mean[1:], jnp.full_like(mean[:1], 0.5)])

    return lambda seed, fluents, mean, depth: look_ahead(seed, typed(fluents), mean, depth)


class _Solver(Reference):
    """What solvers share: each is made for one problem."""

    method = "planner"
    problem = ""

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return getattr(env.unwrapped, "problem", None) == cls.problem


class TowerOfHanoi(_Solver):
    """Moves the disk that the shortest way to the target rod moves, found by a breadth-first search."""

    name = "rddl_hanoi"
    problem = "TowerOfHanoi_arcade"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents = inside(env).simulator.sampler.subs
        where = observation["disk-on-rod"]
        disks, rods = where.shape
        target, sizes = int(np.argmax(fluents["TARGET"])), np.ravel(fluents["SIZE"])
        start = tuple(where.argmax(1).tolist())
        first: dict[tuple[int, ...], int] = {start: disks * rods}  # the last number moves nothing
        frontier = deque([start])
        while frontier:
            state = frontier.popleft()
            if set(state) == {target}:
                return np.int64(first[state])
            for disk in range(disks):
                smaller = {state[other] for other in range(disks) if sizes[other] < sizes[disk]}
                for rod in set(range(rods)) - smaller - {state[disk]} if state[disk] not in smaller else ():
                    after = (*state[:disk], rod, *state[disk + 1 :])
                    if after not in first:
                        first[after] = disk * rods + rod if state == start else first[state]
                        frontier.append(after)
        return np.int64(disks * rods)


class Sudoku(_Solver):
    """Fills in the solution that follows from the fixed numbers, a field at a time."""

    name = "rddl_sudoku"
    problem = "Sudoku_arcade"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        board = observation["board"]
        fixed = board * inside(env).simulator.sampler.subs["FIXED"]
        wrong = np.argwhere(_solved(tuple(map(tuple, fixed.tolist()))) != board)
        fill = np.zeros_like(board)
        if len(wrong):
            row, column = wrong[0]
            fill[row, column] = _solved(tuple(map(tuple, fixed.tolist())))[row, column]
        return {"fill": fill}


@functools.lru_cache(maxsize=16)
def _solved(given: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """The solution of a sudoku, 0 where nothing is given: tries numbers where the fewest fit."""
    board = np.array(given)
    size = len(board)
    block = int(np.sqrt(size))

    def fitting(row: int, column: int) -> list[int]:
        i, j = row // block * block, column // block * block
        used = {
            *board[row].tolist(),
            *board[:, column].tolist(),
            *board[i : i + block, j : j + block].ravel().tolist(),
        }
        return [number for number in range(1, size + 1) if number not in used]

    def fill() -> bool:
        empty = [(len(fitting(row, column)), row, column) for row, column in np.argwhere(board == 0).tolist()]
        if not empty:
            return True
        _, row, column = min(empty)
        for number in fitting(row, column):
            board[row, column] = number
            if fill():
                return True
        board[row, column] = 0
        return False

    fill()
    return board


class IntruderWatch(_Solver):
    """Moves the cameras so that they watch most of the intruders to be expected in the danger zone soon."""

    name = "rddl_intruders"
    problem = "Intruders_Discrete"
    steps = 6  # looked ahead

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        cameras, intruders = observation["camera-at"], observation["intruder-at"]
        _, width, height = cameras.shape
        cells = [(x, y) for x in range(width) for y in range(height)]
        danger = np.ravel(inside(env).simulator.sampler.subs["IS-DANGER-ZONE"]).astype(float)
        # cells by move: left, right, up, down, hold
        moves = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
        after = np.array(
            [
                [min(max(x + i, 0), width - 1) * height + min(max(y + j, 0), height - 1) for i, j in moves]
                for x, y in cells
            ]
        )
        chance = np.zeros((len(cells), len(cells)))
        for move in range(len(moves)):
            np.add.at(chance, (np.arange(len(cells)), after[:, move]), 1.0 / len(moves))
        expected = [intruders.reshape(len(intruders), -1).sum(0) @ chance]
        for _ in range(self.steps - 1):
            expected.append(expected[-1] @ chance)
        value = np.zeros((len(cells), len(cells)))  # by the cells of the two cameras
        for number in reversed(range(self.steps)):
            seen = expected[number] * danger
            watched = seen[:, None] + seen - np.diag(seen)
            future = watched + value
            value = future[after[:, None, :, None], after[None, :, None, :]].max((2, 3))
        here = [int(np.argmax(camera)) for camera in cameras.reshape(2, -1)]
        best = future[after[here[0]][:, None], after[here[1]]]
        return {"move-camera": np.array(np.unravel_index(best.argmax(), best.shape), np.int32)}
