"""EvcRL's car, at a speed by which the next traffic light is green on arrival (green light optimal speed advice)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

SPEEDS = np.arange(22.0, 4.0, -0.5)  # metres a second that are tried, the fastest first
MARGIN = 3.0  # seconds that a light has to be green for before and after
BRAKING = 1.0  # metres a second squared, so that the car recovers energy


class EcoDriver(Reference):
    """Drives at the highest speed that meets the next light when it is green; slows down gently for curves and the end.

    Args:
        env: The car.
        cruise: Cruising speed in metres a second.
    """

    name = "eco_driver"
    worlds = ("EcoDriveEnv",)

    def __init__(self, env: gymnasium.Env, cruise: float = 16.0) -> None:
        self.cruise = cruise

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"cruise": cruise} for cruise in (12.0, 14.0, 16.0, 18.0, 20.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        car = inside(env).vehicle
        road, place = car.route, car.x
        target = min(self.cruise, self._for_light(car), road.profile_limit(place))
        slow = [(start - place, speed) for start, _, speed in road.CURVES if start > place]
        slow.append((road.length - place, 0.0))
        for distance, speed in slow:
            target = min(target, float(np.sqrt(speed**2 + 2 * BRAKING * max(distance, 0.0))))
        acceleration = target - car.v
        return np.array([np.clip(acceleration / (2.6 if acceleration > 0 else 3.5), -1, 1)], np.float32)

    def _for_light(self, car: Any) -> float:
        """The highest speed at which the next light is green on arrival; the cruising speed behind the last one."""
        road, place, now = car.route, car.x, car.t
        ahead = [(at, shift) for at, shift in zip(road.SIGNALS, car.offsets, strict=True) if at > place]
        if not ahead:
            return self.cruise
        at, shift = min(ahead)
        arrivals = now + (at - place) / SPEEDS
        green = [
            all(road.signal_green(at, time + early, shift) for early in (-MARGIN, 0.0, MARGIN)) for time in arrivals
        ]
        usable = SPEEDS[green & (self.cruise >= SPEEDS)]
        return float(usable[0]) if len(usable) else self.cruise
