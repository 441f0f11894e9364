"""Policies for Gymnasium's own environments: linear feedback, energy pumping, a Jacobian, a table for Blackjack."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded, regulator
from ldm_hf.references.scripts import numbers_of, with_numbers
from ldm_hf.references.tuning import Number, Tunable
from ldm_hf.spaces import Action, Info, Observation


class CartPole(Reference):
    """Linear feedback on position, velocity, angle and angular velocity; signs follow from the linearised dynamics."""

    name = "cartpole"
    worlds: tuple[str, ...] = ("CartPoleEnv",)
    gains = np.array([0.05, 0.1, 1.0, 0.3])

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (4,)  # the whole state is seen

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(observation @ self.gains > 0)


class MountainCar(Reference):
    """Pushes in the direction of motion, which raises the energy at every step (problem: Moore 1990)."""

    name = "mountain_car"
    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        forward = observation[1] >= 0
        if isinstance(env.action_space, gymnasium.spaces.Box):
            return np.array([1.0 if forward else -1.0], np.float32)
        return np.int64(2 if forward else 0)


class MountainCarPlanner(Reference):
    """The fastest way, or the one of least effort, up the hill by value iteration.

    Costs to go are interpolated on a grid of places and speeds.

    Args:
        env: the environment, whose engine, gravity and goal count.
        cells: cells of the grid in each direction.
        sweeps: sweeps over the grid at most.
    """

    name = "mountain_car_planner"
    method = "planner"
    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def __init__(self, env: gymnasium.Env, cells: int = 150, sweeps: int = 400) -> None:
        self.world, self.continuous = inside(env), isinstance(env.action_space, gymnasium.spaces.Box)
        # a step costs something where the effort counts, too: the sooner of two equal ways
        self.pushes = np.linspace(-1, 1, 5 if self.continuous else 3)
        self.costs = 0.1 * self.pushes**2 + 0.02 if self.continuous else np.ones(3)
        self.low = np.array([self.world.min_position, -self.world.max_speed])
        self.size = (np.array([self.world.max_position, self.world.max_speed]) - self.low) / cells
        self.cells, self.values = cells, np.full((cells + 1, cells + 1), 200.0)  # far, until a way is found
        grid = self.low + self.size * np.moveaxis(np.mgrid[: cells + 1, : cells + 1], 0, -1)
        places, speeds, arrived = self._after(grid[..., 0], grid[..., 1])
        corners, shares = self._corners(places, speeds)
        for _ in range(sweeps):
            to_go = (self.values.ravel()[corners] * shares).sum(0)
            before, self.values = self.values, (self.costs + np.where(arrived, 0.0, to_go)).min(-1)
            if np.abs(self.values - before).max() < self.costs.min() / 10:
                break

    def _after(self, places: np.ndarray, speeds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place, speed, and whether the goal is reached, a step after each push: ``(..., pushes)``."""
        world = self.world
        engine, gravity = (world.power, 0.0025) if self.continuous else (world.force, world.gravity)
        speed = speeds[..., None] + self.pushes * engine - gravity * np.cos(3 * places[..., None])
        speed = np.clip(speed, -world.max_speed, world.max_speed)
        place = np.clip(places[..., None] + speed, world.min_position, world.max_position)
        speed = np.where((place == world.min_position) & (speed < 0), 0.0, speed)
        return place, speed, (place >= world.goal_position) & (speed >= world.goal_velocity)

    def _corners(self, places: np.ndarray, speeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the four corners of the grid around each state, and their shares: ``(4, ...)``."""
        steps = (np.stack([places, speeds], axis=-1) - self.low) / self.size
        first = np.clip(steps.astype(int), 0, self.cells - 1)
        i, j = first[..., 0], first[..., 1]
        x, y = np.moveaxis(steps - first, -1, 0)
        index = i * (self.cells + 1) + j
        corners = np.stack([index, index + 1, index + self.cells + 1, index + self.cells + 2])
        return corners, np.stack([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y])

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        places, speeds, arrived = self._after(*(np.array(part, float) for part in observation))
        corners, shares = self._corners(places, speeds)
        to_go = (self.values.ravel()[corners] * shares).sum(0)
        best = int(np.argmin(self.costs + np.where(arrived, 0.0, to_go)))
        return np.array([self.pushes[best]], np.float32) if self.continuous else np.int64(best)


class Acrobot(Reference):
    """Turns the elbow the way it is turning, which raises the energy at every step (swing-up: Spong 1995)."""

    name = "acrobot"
    worlds: tuple[str, ...] = ("AcrobotEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(2 if inside(env).state[3] > 0 else 0)


class Pendulum(Reference):
    """Energy pumping far from the top (Astrom & Furuta 2000), linear feedback near it."""

    name = "pendulum"
    worlds: tuple[str, ...] = ("PendulumEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (3,)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        cosine, sine, speed = (float(value) for value in observation)
        angle = np.arctan2(sine, cosine)
        if cosine > 0.85:
            torque = -(12.0 * angle + 3.0 * speed)
        else:
            # m = l = 1, g = 10, inertia 1/3; 0 at rest at the top
            energy = speed**2 / 6 + 5.0 * (cosine - 1)
            torque = -3.0 * energy * (np.sign(speed) or 1.0)
        return np.clip(np.array([torque], np.float32), -2, 2)


class LunarLander(Reference):
    """The controller that Gymnasium ships with the environment."""

    name = "lunar_lander"
    method = "scripted"
    worlds: tuple[str, ...] = ("LunarLander",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from gymnasium.envs.box2d.lunar_lander import heuristic

        return np.asarray(heuristic(env, observation), env.action_space.dtype)


class BipedalWalker(Reference):
    """The walk that Gymnasium ships with the environment, with other numbers: its own fall over.

    Args:
        env: not used.
        numbers: the numbers with a decimal point in the text of the script, in their order; by default as it has them.
    """

    name = "bipedal_walker"
    method = "scripted"
    worlds: tuple[str, ...] = ("BipedalWalker",)
    searches = 300

    def __init__(self, env: gymnasium.Env, numbers: Sequence[float] | None = None) -> None:
        script = self.script()
        self.script_class = script if numbers is None else with_numbers(script, numbers, integers=False)

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {"numbers": numbers_of(cls.script(), integers=False)}

    @staticmethod
    def script() -> type:
        """The class of the script."""
        from gymnasium.envs.box2d.bipedal_walker import BipedalWalkerHeuristics

        return BipedalWalkerHeuristics

    def reset(self, env: gymnasium.Env) -> None:
        self.walk = self.script_class()

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.asarray(self.walk.step_heuristic(observation), np.float32)


class LinearRegulator(Reference):
    """Balances MuJoCo's upright pendulums.

    It is the linear-quadratic regulator (Kalman 1960) of the simulator's own equations near the top.
    """

    name = "linear_regulator"
    method = "planner"
    worlds: tuple[str, ...] = ("InvertedPendulumEnv", "InvertedDoublePendulumEnv")

    def __init__(self, env: gymnasium.Env) -> None:
        world = inside(env)
        self.gains = regulator(world.model, world.frame_skip)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        data = inside(env).data
        return bounded(-self.gains @ np.concatenate([data.qpos, data.qvel]), env.action_space)


class Reacher(Reference):
    """Pulls the tip of MuJoCo's arm to its target by a damped spring.

    The transposed Jacobian turns the force of the spring into torques of the joints (Hogan 1985).

    Args:
        env: not used.
        spring: torque per metre from tip to target and metre of lever.
        damping: torque per radian a second.
    """

    name = "reacher"
    worlds: tuple[str, ...] = ("ReacherEnv",)

    def __init__(self, env: gymnasium.Env, spring: float = 10.0, damping: float = 0.05) -> None:
        self.spring, self.damping = spring, damping

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"spring": spring, "damping": damping} for spring in (4.0, 10.0) for damping in (0.02, 0.05)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        import mujoco

        world = inside(env)
        jacobian = np.zeros((3, world.model.nv))
        mujoco.mj_jacBody(world.model, world.data, jacobian, None, world.model.body("fingertip").id)
        pull = self.spring * (world.get_body_com("target") - world.get_body_com("fingertip"))
        return bounded((jacobian.T @ pull - self.damping * world.data.qvel)[:2], env.action_space)


class RacingDriver(Reference):
    """Steers at a place of the track ahead (pure pursuit: Coulter 1992), and brakes for the bends that come.

    Args:
        env: the race track.
        look: metres between the car and the place it steers at, at rest.
        time: seconds by which that place is further away when the car is moving.
        grip: acceleration to the side that a bend may cause, metres a second squared.
        brake: deceleration that is counted on.
        fastest: highest speed, metres a second.
    """

    name = "racing_driver"
    worlds = ("CarRacing",)
    spacing, wheelbase = 3.5, 3.24  # metres between places of the track, and between the axles
    horizon = 20  # places that are looked at

    def __init__(
        self,
        env: gymnasium.Env,
        look: float = 6.0,
        time: float = 0.15,
        grip: float = 120.0,
        brake: float = 60.0,
        fastest: float = 60.0,
    ) -> None:
        self.look, self.time, self.grip, self.brake, self.fastest = look, time, grip, brake, fastest
        self.continuous = isinstance(env.action_space, gymnasium.spaces.Box)

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        factors = {"look": 6.0, "time": 0.15, "grip": 120.0, "brake": 60.0, "fastest": 60.0}
        return {name: Number(start, 0.3, factor=True) for name, start in factors.items()}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        hull, track = world.car.hull, np.array(world.track)
        speed = float(np.linalg.norm(hull.linearVelocity))
        away = track[:, 2:] - np.array(hull.position)
        places = np.arange(self.horizon) + int(np.square(away).sum(1).argmin())
        ahead = int((self.look + self.time * speed) / self.spacing) + 1
        there, forward = away[(places[0] + ahead) % len(track)], np.array(hull.GetWorldVector((0.0, 1.0)))
        side = forward[0] * there[1] - forward[1] * there[0]  # positive to the left
        wheel = float(np.arctan2(2 * self.wheelbase * side, there @ there))
        headings = np.unwrap(track[places % len(track), 1])
        bends = np.abs(headings[3:] - headings[:-3]) / (3 * self.spacing)
        slow = self.grip / np.maximum(bends, 1e-3) + 2 * self.brake * self.spacing * np.arange(len(bends))
        excess = speed - min(self.fastest, float(np.sqrt(slow.min())))
        if self.continuous:
            return bounded(np.array([-wheel, -0.2 * excess, 0.1 * excess]), env.action_space)
        if excess > 3.0:
            return np.int64(4)
        if abs(wheel) > 0.06:
            return np.int64(2 if wheel > 0 else 1)
        return np.int64(3 if excess < 0 else 0)


class Blackjack(Reference):
    """Basic strategy for an infinite deck without splitting or doubling.

    It is that of Thorp 1962 as Sutton & Barto 2018 (figure 5.2) give it.
    """

    name = "blackjack"
    method = "tabular"
    worlds = ("BlackjackEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        total, dealer, usable_ace = (int(value) for value in observation)
        if usable_ace:
            return np.int64(total < 18 or (total == 18 and dealer in (1, 9, 10)))
        if total >= 17 or (13 <= total <= 16 and 2 <= dealer <= 6) or (total == 12 and 4 <= dealer <= 6):
            return np.int64(0)
        return np.int64(1)
