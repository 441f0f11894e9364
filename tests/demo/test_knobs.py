"""What a world lets change is found from the rows that differ in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.demo.knobs import change, knobs_of
from ldm_hf.environments.specs import catalogue, get_spec

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
