"""Grid2Op: power grids that have to be kept from blacking out (Donnot 2020)."""

from __future__ import annotations

import gymnasium

SEEN = (
    "rho",
    "gen_p",
    "load_p",
    "topo_vect",
    "line_status",
    "timestep_overflow",
)  # loads, flows, and how all is connected


def make_grid2op(
    grid: str, actions: tuple[str, ...] = ("change_line_status",), render_mode: str | None = None
) -> gymnasium.Env:
    """A grid of those that come with the library (others would be downloaded), its numbers in one Box, its actions in one Discrete.

    Args:
        grid: in the library's words.
        actions: kinds of switches that may be operated.
        render_mode: no other than None.
    """
    import grid2op as library
    from grid2op.gym_compat import BoxGymObsSpace, DiscreteActSpace, GymEnv

    inner = library.make(grid, test=True)
    env: gymnasium.Env = GymEnv(inner)
    env.observation_space = BoxGymObsSpace(inner.observation_space, attr_to_keep=list(SEEN))
    env.action_space = DiscreteActSpace(inner.action_space, attr_to_keep=list(actions))
    return env
