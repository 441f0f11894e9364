"""The power grids of Grid2Op (Donnot 2020) with one Box and one Discrete."""

from __future__ import annotations

import gymnasium

# observed: loads, flows, and how everything is connected
SEEN = ("rho", "gen_p", "load_p", "topo_vect", "line_status", "timestep_overflow")


def make_grid2op(
    grid: str, actions: tuple[str, ...] = ("change_line_status",), render_mode: str | None = None
) -> gymnasium.Env:
    """Makes a grid whose observed numbers are a Box, and whose actions are a Discrete.

    Only grids that come with the library are made; others would be downloaded.

    Args:
        grid: name of the grid in the library.
        actions: kinds of switches that may be operated, by their names in the library.
        render_mode: must be None; nothing is drawn.
    """
    import grid2op as library
    from grid2op.gym_compat import BoxGymObsSpace, DiscreteActSpace, GymEnv

    inner = library.make(grid, test=True)
    env: gymnasium.Env = GymEnv(inner)
    env.observation_space = BoxGymObsSpace(inner.observation_space, attr_to_keep=list(SEEN))
    env.action_space = DiscreteActSpace(inner.action_space, attr_to_keep=list(actions))
    return env
