"""Planning in the model that a problem in RDDL is written in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.errors import MissingExtraError
from ldm_hf.references.base import Reference

PLANS, SCENARIOS, ROUNDS, ELITE = 64, 4, 8, 8
DEEPEST = 40
REACH = 10.0  # how far apart the first plans are where an action has no bounds
BOUNDLESS = 1e6  # and what is as good as no bound
BROKEN = 1e9  # what a plan loses that leads to a state which the problem calls impossible


class RDDLPlanner(Reference):
    """Looks ahead by the cross-entropy method (Rubinstein & Kroese 2004), in every step anew, in the problem's own model.

    A plan says what every action fluent does in each of the steps ahead, without looking. All plans are tried in the same drawn scenarios, the best are
    kept, and the next ones are drawn around them; what the last step planned is where the next one begins. The model is compiled by JaxPlan
    (Gimelfarb, Taitler & Sanner 2024).

    Args:
        env: a problem in RDDL.
        depth: steps to look ahead, `DEEPEST` at the most.
    """

    name = "rddl_planner"
    method = "planner"
    worlds = ("RDDLEnv",)

    def __init__(self, env: gymnasium.Env, depth: int = 10) -> None:
        world: Any = env.unwrapped
        self.depth, self.width = depth, len(world.low)
        self.look_ahead = _compiled(world.problem, world.instance)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{"depth": depth} for depth in (5, 10, 20, 40)]

    def reset(self, env: gymnasium.Env) -> None:
        self.step = 0
        self.mean = np.full((DEEPEST, self.width), 0.5, np.float32)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
        left = world.simulator.horizon - world.simulator.timestep
        settings, self.mean = self.look_ahead(
            self.step, world.simulator.sampler.subs, self.mean, min(self.depth, left)
        )
        self.step += 1
        return world.action(np.asarray(settings))


@functools.lru_cache(maxsize=8)
def _compiled(problem: str, instance: str) -> Callable[[int, dict[str, np.ndarray], Any, int], tuple[Any, Any]]:
    """What turns (seed, fluents, mean of the plans, steps to look ahead) into settings for this step, and the mean for the next."""
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

    def typed(fluents: dict[str, Any]) -> dict[str, Any]:
        return {name: jnp.asarray(values, types[name]) for name, values in fluents.items() if name in types}

    def settings(plan: Any) -> Any:
        """Of one step, from numbers around 0 to 1: of switches the highest that exceed one half are set, as many as may be."""
        values = jnp.clip(origin + plan * reach, low, high)
        values = jnp.where(world.whole, jnp.round(values), values)
        if world.allowed < len(plan):
            rank = jnp.argsort(jnp.argsort(-plan))
            values = jnp.where(rank < world.allowed, values, world.defaults)
        return values

    def gain(key: Any, plan: Any, fluents: dict[str, Any], depth: Any) -> Any:
        """Return of a plan in a scenario."""

        def step(number: Any, carry: Any) -> Any:
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
    def look_ahead(seed: Any, fluents: dict[str, Any], mean: Any, depth: Any) -> Any:
        scenarios, *rounds = jax.random.split(jax.random.PRNGKey(seed), ROUNDS + 1)
        scenarios = jax.random.split(scenarios, SCENARIOS)
        best, deviation = mean, jnp.full_like(mean, 0.5)
        for key in rounds:
            noise = jax.random.normal(key, (PLANS, *mean.shape))
            # of every second plan the same in all steps ahead
            noise = noise.at[::2].set(jnp.broadcast_to(noise[::2, :1], noise[::2].shape))
            plans = (mean + deviation * noise).at[0].set(best)
            value = gains(scenarios, plans, fluents, depth).mean(1)
            elite = plans[jnp.argsort(-value)[:ELITE]]
            best, mean, deviation = elite[0], elite.mean(0), elite.std(0) + 0.05
        return settings(best[0]), jnp.concatenate([mean[1:], jnp.full_like(mean[:1], 0.5)])

    return lambda seed, fluents, mean, depth: look_ahead(seed, typed(fluents), mean, depth)
