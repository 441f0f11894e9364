"""A planner for problems in RDDL (Sanner 2010), in the model that a problem consists of."""

from __future__ import annotations

import functools
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
