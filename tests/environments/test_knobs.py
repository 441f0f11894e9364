"""What a world lets change is found from the rows that differ in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.environments import make
from ldm_hf.environments.knobs import change, drawable_knobs, drawn, drawn_rows, knobs_of
from ldm_hf.environments.specs import catalogue, fingerprint, get_spec
from ldm_hf.errors import LDMError, UnknownEnvironmentError

LENGTH, GRAVITY, MASS = (("changes", name) for name in ("length", "gravity", "masspole"))


def test_numbers_that_go_together_change_together():
    row = get_spec("CartPole-v1")
    changed = change(row, {LENGTH: 0.7, GRAVITY: 5}, knobs_of(row))
    assert changed.name == row.name and changed.env_id == "ldm_hf/Altered-v0"
    assert changed.kwargs["env_id"] == "CartPole-v1"
    assert changed.kwargs["changes"] == pytest.approx({"length": 0.7, "polemass_length": 0.07, "gravity": 5})
    assert row.kwargs == {}


def test_a_world_that_differs_already_keeps_the_rest():
    row = get_spec("CartPole-gravity20.0-v1")
    changed = change(row, {LENGTH: 1.0}, knobs_of(row))
    assert changed.kwargs["changes"] == pytest.approx({"length": 1.0, "polemass_length": 0.1, "gravity": 20})


def test_the_world_s_own_setting_is_a_point_between():
    knob = next(knob for knob in knobs_of(get_spec("CartPole-v1")) if knob.path == MASS)
    own = {MASS: 0.1, ("changes", "total_mass"): 1.1, ("changes", "polemass_length"): 0.05}
    assert knob.with_default(own).range == (0.1, 1.0)
    assert knob.with_default(own).settings(0.3)["changes", "total_mass"] == pytest.approx(1.3)
    assert knob.with_default({MASS: 0.1}) is knob  # not all of it is known


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "LunarLander-v3", "MountainCar-v0", "HomeBattery-v0"])
def test_drawn_numbers_follow_from_the_name_and_stay_within_those_of_the_rows(name):
    row, knobs = get_spec(name), {knob.path: knob for knob in drawable_knobs(get_spec(name))}
    found = [get_spec(f"{name}-drawn-{number}") for number in range(20)]
    assert found[3] == drawn(row, 3) and found[3].name == f"{name}-drawn-3"
    assert all((other.task, other.reference, other.family) == (row.task, row.reference, row.family) for other in found)
    assert len({repr(other.kwargs) for other in found}) == 20 and len({fingerprint(other) for other in found}) == 20
    moved = set()
    for other in found:
        for path, knob in knobs.items():
            value = other.kwargs
            for part in path:
                value = value.get(part, {})
            if value != {}:
                moved.add(path)
                assert knob.range[0] <= value <= knob.range[1]
    assert moved == knobs.keys()


def test_whole_numbers_that_go_with_others_stay_whole():
    """Of BaseStock's rows, some have another demand and another lead time."""
    found = [get_spec(f"BaseStock-v0-drawn-{number}") for number in range(30)]
    times = [row.kwargs["lead_time"] for row in found if "demand_mean" in row.kwargs and "lead_time" in row.kwargs]
    assert times and all(isinstance(time, int) for time in times)
    for row in found[:6]:
        env = make(row)
        assert env.observation_space.contains(env.reset(seed=0)[0])


def test_of_numbers_that_would_set_the_same_one_is_drawn():
    """A heavier and a longer pole both change what the equations of motion take for their product."""
    for number in range(60):
        changes = get_spec(f"CartPole-v1-drawn-{number}").kwargs["changes"]
        if "length" in changes:
            assert changes["polemass_length"] == pytest.approx(0.1 * changes["length"])


def test_a_world_without_numbers_cannot_be_drawn():
    assert drawable_knobs(get_spec("Taxi-v4")) == []
    with pytest.raises(LDMError, match="Taxi-v4: no number of its world can be drawn"):
        get_spec("Taxi-v4-drawn-1")
    with pytest.raises(LDMError, match="lets a number be drawn"):
        drawn_rows([get_spec("Taxi-v4")], 3)
    rows = drawn_rows([get_spec("Taxi-v4"), get_spec("Pendulum-v1")], 2)
    assert [row.name for row in rows] == ["Pendulum-v1-drawn-0", "Pendulum-v1-drawn-1"]
    for name in ("Pendulum-v1-drawn", "Pendulum-v1-drawn-01", "Nothing-v0-drawn-1"):
        with pytest.raises(UnknownEnvironmentError):
            get_spec(name)


def test_switches_go_with_their_numbers():
    row = get_spec("LunarLander-v3")
    kwargs = change(row, {("wind_power",): 12}, knobs_of(row)).kwargs
    assert kwargs == pytest.approx({"wind_power": 12, "turbulence_power": 1.2, "enable_wind": True})


@given(st.sampled_from(sorted(catalogue())), st.floats(-1e9, 1e9))
def test_every_knob_of_every_world_takes_every_value(name, value):
    row = get_spec(name)
    knobs = knobs_of(row)
    for knob in knobs:
        low, high = knob.range
        changed = change(row, {knob.path: value}, knobs)
        found = changed.kwargs
        for part in knob.path:
            found = found[part]
        assert low <= found <= high
        assert isinstance(found, int) or not knob.whole
        assert change(row, {}, knobs) == row
