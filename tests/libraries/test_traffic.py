"""Max-pressure control of traffic lights, against a simulator that only counts."""

from types import SimpleNamespace

import pytest
from gymnasium import spaces

from ldm_hf.libraries.sumo_rl.policies import MaxPressure


def crossing(counts, green=0):
    """A light with two movements, one in each of two green phases, and a link without lanes."""
    lane = SimpleNamespace(
        getLastStepVehicleNumber=counts.__getitem__, getWaitingTime=lambda name: 10.0 * counts[name]
    )
    links = [[("north", "south", "")], [("west", "east", "")], []]
    simulator = SimpleNamespace(
        lane=lane, trafficlight=SimpleNamespace(getControlledLinks=lambda name: links if name == "light" else None)
    )
    phases = [SimpleNamespace(state="Grr"), SimpleNamespace(state="rgr")]
    return SimpleNamespace(sumo=simulator, id="light", green_phases=phases, green_phase=green)


def world(*lights):
    space = spaces.Discrete(2) if len(lights) == 1 else spaces.MultiDiscrete([2] * len(lights))
    env = SimpleNamespace(lights=list(lights), action_space=space)
    env.unwrapped = env
    return env


@pytest.mark.parametrize(
    ("counts", "green", "chosen"),
    [
        ({"north": 3, "south": 0, "west": 5, "east": 0}, 0, 1),
        ({"north": 3, "south": 0, "west": 5, "east": 4}, 1, 0),  # no room behind the junction
        ({"north": 2, "south": 0, "west": 2, "east": 0}, 1, 1),  # a change costs a yellow phase
    ],
)
def test_the_phase_with_the_most_pressure_is_green(counts, green, chosen):
    env = world(crossing(counts, green))
    action = MaxPressure(env).act(env, None, {})
    assert action == chosen and env.action_space.contains(action)


def test_seconds_of_waiting_have_to_exceed_by_the_margin():
    env = world(crossing({"north": 3, "south": 0, "west": 5, "east": 0}))
    for margin, chosen in ((19, 1), (20, 0)):
        assert MaxPressure(env, counted="waiting", margin=margin).act(env, None, {}) == chosen


def test_every_light_of_a_network_is_chosen_for():
    busy, idle = {"north": 0, "south": 0, "west": 1, "east": 0}, dict.fromkeys(("north", "south", "west", "east"), 0)
    env = world(crossing(busy), crossing(idle), crossing(busy))
    action = MaxPressure(env).act(env, None, {})
    assert action.tolist() == [1, 0, 1] and env.action_space.contains(action)
