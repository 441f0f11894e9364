"""Rules for the cars of highway-env (Leurent 2018), on what a car observes."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.spaces import Action, Info, Observation

LEFT, IDLE, RIGHT, FASTER, SLOWER = range(5)
# metres; the library's kinematic observation is scaled by these
X_RANGE, Y_RANGE, LANE = 200.0, 12.0, 4.0
SIDE = 2.5  # metres from the middle of a lane within which a car is on it
LaneIndex = tuple[str, str, int]  # two nodes of the road network and the number of a lane between them


class LaneChanger(Reference):
    """Drives fast if nothing is ahead; else overtakes on a free lane, or slows down.

    The gap that a lane needs to be free grows with the closing speed.

    Args:
        env: an environment with kinematic observations and discrete meta-actions.
        gap: smallest gap to the vehicle ahead, in metres.
        lanes: number of lanes of the road.
    """

    name = "lane_changer"

    def __init__(self, env: gymnasium.Env, gap: float = 25.0, lanes: int = 3) -> None:
        self.gap, self.lanes = gap, lanes

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        ego, others = observation[0], observation[1:]
        others = others[others[:, 0] > 0.5]
        lane = round(float(ego[2]) * Y_RANGE / LANE)
        ahead, beside = others[:, 1] * X_RANGE, others[:, 2] * Y_RANGE / LANE
        closing = -others[:, 3] * 2 * 40.0  # metres per second; the speeds are scaled by twice 40

        def free(shift: int) -> bool:
            if not 0 <= lane + shift < self.lanes:
                return False
            there = np.abs(beside - shift) < 0.6
            needed = self.gap + np.maximum(closing, 0) * 1.5
            blocked = there & (ahead > (-12.0 if shift else 0.0)) & (ahead < needed)
            return not blocked.any()

        if free(0):
            return np.int64(FASTER)
        for shift, action in ((1, RIGHT), (-1, LEFT)):
            if free(shift):
                return np.int64(action)
        return np.int64(SLOWER)


class LaneKeeper(Reference):
    """Linear state feedback on the deviation from the centre of the lane.

    Args:
        env: lane-keeping-v0.
        gains: gains on lateral deviation, heading, lateral speed and yaw rate.
    """

    name = "lane_keeper"

    def __init__(self, env: gymnasium.Env, gains: tuple[float, ...] = (0.1, 1.0, 0.05, 0.2)) -> None:
        self.gains = np.asarray(gains)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        deviation = (observation["state"] - observation["reference_state"]).reshape(-1)
        return np.clip(np.array([-self.gains @ deviation], np.float32), -1, 1)


class Lookahead(Reference):
    """Tries every action in a copy of the road, keeps what follows for some seconds, and takes what is paid best.

    Args:
        env: an environment with discrete meta-actions.
        steps: steps that are simulated.
        right: reward on top for a lane further to the right at the end, where the exit is.
    """

    name = "highway_lookahead"
    method = "planner"
    # not the merges: no step of theirs costs, so who drives slowly is paid for longer than can be looked ahead
    worlds = ("HighwayEnv", "IntersectionEnv", "RoundaboutEnv", "TwoWayEnv", "UTurnEnv")
    frequency = 4  # simulated frames a step; the library's 15 would cost four times as much
    near = 60.0  # metres; vehicles further away are left out

    def __init__(self, env: gymnasium.Env, steps: int = 4, right: float = 0.0) -> None:
        self.steps, self.right, self.network = steps, right, None

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and isinstance(env.action_space, spaces.Discrete)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        idle = world.action_type.actions_indexes["IDLE"]
        available = world.get_available_actions()  # idle is the first, which wins among equals
        return np.int64(max(available, key=lambda action: self._value(self._copy(world), action, idle)))

    def _copy(self, world: Any) -> Any:
        """A copy of the road around the car."""
        road = world.road
        if self.network is not road.network:
            self.network, self.lanes = road.network, _memorising(road.network)
        vehicles, kept = road.vehicles, [world.vehicle, *road.close_vehicles_to(world.vehicle, self.near)]
        road.vehicles = kept
        try:
            copied = copy.deepcopy(world, {id(road.network): self.lanes})
        finally:
            road.vehicles = vehicles
        copied.config["simulation_frequency"] = self.frequency * copied.config["policy_frequency"]
        copied.steps = 0
        return copied

    def _value(self, world: Any, action: int, idle: int) -> float:
        value = 0.0
        for _ in range(self.steps):
            world.time += 1 / world.config["policy_frequency"]
            world._simulate(action)
            value += world._reward(action)
            if world.vehicle.crashed:
                return float(value - self.steps)  # whatever a crash costs, it ends the episode
            if world._is_terminated() or world._is_truncated():
                break
            action = idle
        return float(value + self.right * world.vehicle.target_lane_index[2])


def _memorising(network: Any) -> Any:
    """A network of lanes that remembers which one is closest, by metres and tenths of a radian: most of the time."""
    closest = network.get_closest_lane_index
    known: dict[tuple[int, int, int | None], LaneIndex] = {}
    lanes = copy.copy(network)

    def look_up(position: np.ndarray, heading: float | None = None) -> LaneIndex:
        key = round(position[0]), round(position[1]), None if heading is None else round(10 * heading)
        if key not in known:
            known[key] = closest(position, heading)
        return known[key]

    lanes.get_closest_lane_index = look_up
    return lanes


class LaneFollower(Reference):
    """Steers along the lanes of a race track, and changes to the lane on which nothing is met for longest.

    Args:
        env: a race track on which the speed is given.
        patience: seconds until something is met on the lane below which another lane is taken.
        gain: share of the library's own steering that is used.
    """

    name = "lane_follower"
    worlds = ("RacetrackEnv",)
    reach, behind, spacing = 60.0, 10.0, 2.0  # metres that are looked ahead and behind, and between the places

    def __init__(self, env: gymnasium.Env, patience: float = 4.0, gain: float = 0.7) -> None:
        self.patience, self.gain = patience, gain

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return hasattr(env.unwrapped, "vehicle") and "lane_centering_cost" in getattr(env.unwrapped, "config", {})

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"patience": patience} for patience in (2.5, 4.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from highway_env.vehicle.controller import ControlledVehicle

        world = inside(env)
        car, network = world.vehicle, world.road.network
        here = car.lane_index
        time = {lane: self._time(world, lane) for lane in [here, *network.side_lanes(here)]}
        best = here if time[here] > self.patience else max(time, key=lambda lane: time[lane])
        driver = ControlledVehicle(world.road, car.position, car.heading, car.speed, best)
        driver.follow_road()
        steering = self.gain * driver.steering_control(driver.target_lane_index)
        return bounded(np.array([steering / world.action_type.steering_range[1]]), env.action_space)

    def _time(self, world: Any, index: LaneIndex) -> float:
        """Seconds until something is met on a lane; 0 if something is beside the car there."""
        car, path = world.vehicle, self._path(world.road.network, index, world.vehicle.position)
        time = self.reach / max(car.speed, 1.0)
        for other in [*world.road.vehicles, *world.road.objects]:
            distances = np.linalg.norm(path - other.position, axis=1)
            ahead = int(distances.argmin()) * self.spacing - self.behind
            if other is car or distances.min() > SIDE:
                continue
            if index != car.lane_index and abs(ahead) < 1.6 * car.LENGTH:
                return 0.0
            if ahead > 0:
                time = min(time, max(ahead - car.LENGTH, 0.0) / max(car.speed - other.speed, 0.1))
        return float(time)

    def _path(self, network: Any, index: LaneIndex, position: np.ndarray) -> np.ndarray:
        """Places along a lane and those that follow it, from `behind` the position to `reach` ahead of it."""
        lane = network.get_lane(index)
        along = lane.local_coordinates(position)[0] - self.behind
        places = []
        for _ in range(int((self.behind + self.reach) / self.spacing)):
            if along > lane.length:
                along -= lane.length
                index = network.next_lane(index, position=lane.position(lane.length, 0.0))
                lane = network.get_lane(index)
            places.append(lane.position(along, 0.0))
            along += self.spacing
        return np.array(places)


class Parking(Reference):
    """Drives the best of many sequences of controls through a model of the car (cross-entropy method), again each step.

    Args:
        env: a car park.
        samples: sequences that are tried in a round.
        rounds: rounds, each around the best of the one before.
        seconds: how far they reach.
    """

    name = "parking_planner"
    method = "planner"
    worlds = ("ParkingEnv",)
    elite = 0.1  # share of the sequences by which the next round goes
    tail = 3.0  # seconds at the end of a sequence for which its last reward is taken to continue
    discs, radius = (-1.6, 0.0, 1.6), 1.2  # metres; the car is covered by these

    def __init__(self, env: gymnasium.Env, samples: int = 200, rounds: int = 4, seconds: float = 6.0) -> None:
        world = inside(env)
        config = world.config
        self.frames = int(config["simulation_frequency"] // config["policy_frequency"])
        self.frame = 1.0 / config["simulation_frequency"]
        self.steps = max(4, round(seconds * config["policy_frequency"]))
        self.hold = max(1, round(0.6 * config["policy_frequency"]))  # steps that keep a control
        self.samples, self.rounds = samples, rounds

    def reset(self, env: gymnasium.Env) -> None:
        self.rng = np.random.default_rng(0)
        self.plan = np.zeros((self.steps, 2))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        solid = self._solid(world)
        mean, deviation = self.plan, np.ones_like(self.plan)
        best, highest = self.plan, -np.inf
        knots = -(-self.steps // self.hold)
        for _ in range(self.rounds):
            noise = self.rng.normal(size=(self.samples, knots, 2)).repeat(self.hold, axis=1)[:, : self.steps]
            tried = np.clip(mean + deviation * noise, -1, 1)
            tried[0] = best
            values = self._values(world, tried, solid)
            order = np.argsort(-values)
            if values[order[0]] > highest:
                best, highest = tried[order[0]], values[order[0]]
            chosen = tried[order[: int(self.elite * self.samples)]]
            mean, deviation = chosen.mean(0), chosen.std(0) + 0.05
        self.plan = np.concatenate([best[1:], best[-1:]])
        return bounded(best[0], env.action_space)

    def _solid(self, world: Any) -> np.ndarray:
        """Middle and half size of everything that can be hit, upright rectangles, ``(things, 4)``."""
        found = []
        for thing in [*world.road.vehicles, *world.road.objects]:
            if thing is world.vehicle or not thing.solid:
                continue
            upright = abs(np.sin(thing.heading)) > 0.5
            size = (thing.WIDTH, thing.LENGTH) if upright else (thing.LENGTH, thing.WIDTH)
            found.append([*thing.position, size[0] / 2, size[1] / 2])
        return np.array(found)

    def _values(self, world: Any, controls: np.ndarray, solid: np.ndarray) -> np.ndarray:
        """Rewards of sequences of controls by the kinematic model of the library, ``(samples,)``."""
        car, config, goal = world.vehicle, world.config, world.vehicle.goal
        count = len(controls)
        x, y, heading, speed = (np.full(count, float(value)) for value in (*car.position, car.heading, car.speed))
        scales = np.asarray(config["observation"]["scales"])
        weights = np.asarray(config["reward_weights"]) / scales
        value, active, reward = np.zeros(count), np.ones(count, bool), np.zeros(count)
        most = world.action_type.steering_range[1], world.action_type.acceleration_range[1]
        for control in np.moveaxis(controls, 1, 0):
            slip = np.arctan(np.tan(most[0] * control[:, 1]) / 2)
            turn, gain = np.sin(slip) / (car.LENGTH / 2), most[1] * control[:, 0]
            for _ in range(self.frames):
                x += speed * np.cos(heading + slip) * self.frame
                y += speed * np.sin(heading + slip) * self.frame
                heading += speed * turn * self.frame
                speed += gain * self.frame
            away = weights[0] * np.abs(x - goal.position[0]) + weights[1] * np.abs(y - goal.position[1])
            away += weights[4] * np.abs(np.cos(heading) - np.cos(goal.heading))
            away += weights[5] * np.abs(np.sin(heading) - np.sin(goal.heading))
            reward = -np.sqrt(away)
            hit = self._hit(x, y, heading, solid)
            value += active * (reward + hit * config["collision_reward"] * 4)  # and what comes after is lost, too
            active &= ~hit & (reward <= -config["success_goal_reward"])
        value += active * reward * self.tail * config["policy_frequency"]
        return value

    def _hit(self, x: np.ndarray, y: np.ndarray, heading: np.ndarray, solid: np.ndarray) -> np.ndarray:
        """Whether the car is in something, by the discs that cover it."""
        hit = np.zeros(len(x), bool)
        for shift in self.discs:
            across = np.abs(x[:, None] + shift * np.cos(heading)[:, None] - solid[:, 0]) - solid[:, 2]
            along = np.abs(y[:, None] + shift * np.sin(heading)[:, None] - solid[:, 1]) - solid[:, 3]
            hit |= ((across < self.radius) & (along < self.radius)).any(1)
        return hit
