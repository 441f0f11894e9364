"""Rules and small dynamic programs for problems in RDDL (Sanner 2010)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.pyrddlgym.policies import _Solver
from ldm_hf.references.base import inside
from ldm_hf.spaces import Action, Info, Observation


def constants(env: gymnasium.Env) -> Mapping[str, Any]:
    """The values of all fluents by name, also of those that never change and are not observed."""
    fluents: Mapping[str, Any] = inside(env).simulator.sampler.subs
    return fluents


def setting(env: gymnasium.Env, **fluents: Any) -> Action:
    """The action that sets some action fluents (dashes are underscores here), and leaves the others as they are."""
    world = inside(env)
    row = world.defaults.copy()
    for name, part, _ in world._parts:
        if (values := fluents.get(name.replace("-", "_"))) is not None:
            row[part] = np.ravel(values)
    return world.action(row)


class Firefighter(_Solver):
    """Puts out the fire that would cost most: what it burns itself, and what it may set alight."""

    name = "rddl_wildfire"
    method = "heuristic"
    problem = "Wildfire_MDP_ippc2014"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, burning = constants(env), observation["burning"]
        beside, targets = fluents["NEIGHBOR"], fluents["TARGET"]
        heat = np.tensordot(beside, burning, 2)
        ignites = 1 / (1 + np.exp(4.5 - heat)) - 1 / (1 + np.exp(5.5 - heat))
        fresh = (burning == 0) & (observation["out-of-fuel"] == 0)
        loss = np.where(targets, -fluents["PENALTY_TARGET_BURN"], -fluents["PENALTY_NONTARGET_BURN"])
        spreads = np.tensordot(fresh * ignites * loss, beside, 2)
        worth = burning * (1e-6 + spreads + loss * ~np.asarray(targets, bool))
        return setting(env, put_out=np.eye(worth.size)[worth.argmax()] if worth.any() else None)


class TireRoute(_Solver):
    """Drives along the roads on which it most likely arrives: values by steps left, place, spare and flat tyre.

    The spares are taken to lie where they are now.
    """

    name = "rddl_tireworld"
    problem = "TriangleTireworld_MDP_ippc2014"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, simulator = constants(env), inside(env).simulator
        roads, goal, sound = np.asarray(fluents["road"], bool), fluents["goal-location"], float(fluents["FLAT-PROB"])
        spares = observation["spare-in"].astype(bool)
        here, has_spare = int(observation["vehicle-at"].argmax()), int(observation["hasspare"])
        value = np.zeros((len(roads), 2, 2))  # by place, spare, sound tyres
        value[:] = moved = np.where(goal, 100.0, 0.0)[:, None, None]
        for _ in range(simulator.horizon - simulator.timestep):
            arrival = sound * value[:, :, 1] + (1 - sound) * value[:, :, 0]
            moves = np.where(roads[:, :, None], arrival[None], -np.inf)
            value = value - 1
            value[:, 1, 0] = np.maximum(value[:, 1, 0], value[:, 0, 1])
            loaded = np.where(spares[:, None], value[:, 1], -np.inf)
            value[:, 0] = np.maximum(value[:, 0], loaded)
            value[:, :, 1] = np.maximum(value[:, :, 1], moves.max(1) - 1)
            value = np.where(np.asarray(goal, bool)[:, None, None], moved, value)
        if not observation["not-flattire"] and has_spare:
            return setting(env, changetire=1)
        load = np.eye(len(roads))[here]
        if spares[here] and not has_spare:
            return setting(env, loadtire=load)
        drive = np.zeros(roads.shape)
        drive[here, moves[here, :, has_spare].argmax()] = 1
        return setting(env, move_car=drive if observation["not-flattire"] else None)


class SupplyPlanner(_Solver):
    """Ships what the warehouses will need in the next epoch, and makes what they will need in the one after it."""

    name = "rddl_supply"
    method = "heuristic"
    problem = "SupplyChain_or"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, epoch = constants(env), int(observation["epoch"])

        def demand(ahead: int) -> np.ndarray:
            wave = np.sin(2 * np.pi * (epoch + ahead + 2 * np.asarray(fluents["INDEX"])) / 12)
            expected: np.ndarray = np.ceil(fluents["MAX-DEMAND"] / 2 * (wave + 1))
            return expected

        stock, stored = float(observation["stock-factory"]), observation["stock-warehouse"]
        wanted = np.maximum(demand(0) - stored, 0)
        if wanted.sum() > stock:  # more than there is would not be shipped at all
            wanted = np.floor(wanted * stock / wanted.sum())
        after = stored + wanted - demand(0)
        lacking = np.maximum(demand(1) - after, 0).sum() - (stock - wanted.sum())
        return setting(env, ship=wanted, produce=np.clip(lacking, 0, fluents["PRODUCE-MAX"]))


class GreenKeeper(_Solver):
    """Keeps a phase of the lights until those who wait elsewhere are many more.

    Of the phases that may follow, it takes the one for which most wait, where there is a choice.
    """

    name = "rddl_lights"
    method = "heuristic"
    lead = 1.5  # times as many waiting elsewhere

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return str(getattr(env.unwrapped, "problem", "")).startswith("TrafficBLX_")

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, queues = constants(env), observation["q"]
        waiting = np.einsum("udp,ud,ui->ip", fluents["GREEN"], queues, fluents["LINK-TO"])  # by crossing and phase
        phases = observation["signal"]
        now = waiting[np.arange(len(phases)), phases]
        if "TRANSITION" not in fluents:
            all_red = np.flatnonzero(np.asarray(fluents["GREEN"]).sum((0, 1)) == 0)
            advance = (waiting.max(1) > self.lead * now) | np.isin(phases, all_red)
            return setting(env, advance=advance)
        following = np.asarray(fluents["TRANSITION"])[phases]  # by crossing and choice, -1 where there is none
        gains = np.where(following >= 0, np.take_along_axis(waiting, following, 1), -1)
        best = gains[:, 1:].argmax(1) + 1
        changes = gains.max(1) > self.lead * now
        return setting(env, set_phase=np.where(changes, best, 0))


class Recommender(_Solver):
    """Recommends the items that are nearest to their consumers' taste."""

    name = "rddl_recommender"
    method = "heuristic"
    problem = "RecSim_ippc2023"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        tastes = np.asarray(constants(env)["CONSUMER-AFFINITY"])
        distances = np.linalg.norm(tastes[:, None] - observation["item-feature"], axis=-1)
        recommended = np.eye(distances.shape[1])[distances.argmin(1)]
        pleased = np.argsort(np.argsort(distances.min(1))) < inside(env).allowed
        return setting(env, recommend=recommended * pleased[:, None])


class QuadcopterPilot(_Solver):
    """Flies drones to their targets: tilts towards the target, which lies ahead or behind after a turn.

    All angles and heights follow proportional-derivative control.
    """

    name = "rddl_quadcopter"
    method = "heuristic"
    problem = "Quadcopter_physics"
    stiffness, damping = 400.0, 40.0  # of the angles
    pull, brake = 12.0, 3.0  # of the places
    steepest = 0.6  # radians

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        c = constants(env)
        mass = c["MC"] + 4 * c["MR"]
        away = [
            np.asarray(c[target]) - observation[place] for target, place in (("TX", "x"), ("TY", "y"), ("TZ", "z"))
        ]
        wanted = [
            self.pull * gap - (self.brake - c["KD"]) * observation[f"{place}dot"]
            for gap, place in zip(away, "xyz", strict=True)
        ]
        # the tilt theta pushes along (sin psi, -cos psi)
        psi, theta = observation["psi"], observation["theta"]
        along = wanted[0] * np.sin(psi) - wanted[1] * np.cos(psi)
        course = np.arctan2(away[0], -away[1])
        turn = (course - psi + np.pi / 2) % np.pi - np.pi / 2  # it may fly backwards
        turn = np.where(np.hypot(away[0], away[1]) > 0.05, turn, 0)
        lift = np.maximum(wanted[2] + c["G"], 1.0)
        tilt = np.clip(np.arctan2(along, lift), -self.steepest, self.steepest)
        thrust = mass * lift / np.maximum(np.cos(theta), 0.5) / c["K"]
        inertia = 0.4 * c["MC"] * c["R"] ** 2 + 2 * c["L"] ** 2 * c["MR"]
        roll, pitch, yaw = (
            size * (self.stiffness * gap - self.damping * observation[f"{angle}dot"])
            for size, gap, angle in (
                (inertia / (c["L"] * c["K"]), -observation["phi"], "phi"),
                (inertia / (c["L"] * c["K"]), tilt - theta, "theta"),
                (2 * inertia / c["B"], turn, "psi"),
            )
        )
        front, side = (thrust + yaw) / 2, (thrust - yaw) / 2  # of two opposite propellers together
        power = np.stack([front + roll, side + pitch, front - roll, side - pitch], -1) / 2
        return setting(env, power=np.clip(power, -c["PMAX"], c["PMAX"]))
