"""A rule for the traffic lights of SUMO-RL (Alegre 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from sumo_rl import TrafficSignal

# calls of the simulator for a lane, by what is counted
COUNTS = {"vehicles": "getLastStepVehicleNumber", "waiting": "getWaitingTime"}


class MaxPressure(Reference):
    """Gives green to the phase with the most pressure.

    That is, over all movements that the phase lets through, what is counted before the junction less what is counted
    behind it. Counting vehicles is Varaiya's rule (2013); counting the seconds that they have been waiting (Wu et al.
    2018) lets nobody wait for ever.

    Args:
        env: a network of traffic lights.
        counted: ``vehicles`` on a lane, or seconds of ``waiting`` of those that stand there.
        margin: lead in pressure that another phase needs over the green one, since every change costs a yellow phase.
    """

    name = "max_pressure"
    method = "heuristic"

    def __init__(self, env: gymnasium.Env, counted: str = "vehicles", margin: float = 0.0) -> None:
        self.counted, self.margin = COUNTS[counted], margin

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        chosen = [self._phase(light) for light in world.lights]
        return np.int64(chosen[0]) if len(chosen) == 1 else np.array(chosen, world.action_space.dtype)

    def _phase(self, light: TrafficSignal) -> int:
        """The phase that a light should have next."""
        simulator = light.sumo
        count = getattr(simulator.lane, self.counted)
        links = simulator.trafficlight.getControlledLinks(light.id)
        # each call asks the simulator
        counts = {lane: count(lane) for link in links if link for lane in link[0][:2]}
        movements = [counts[link[0][0]] - counts[link[0][1]] if link else 0 for link in links]
        pressure = [
            sum(value for value, sign in zip(movements, phase.state, strict=True) if sign in "gG")
            for phase in light.green_phases
        ]
        best = int(np.argmax(pressure))
        return best if pressure[best] > pressure[light.green_phase] + self.margin else light.green_phase
