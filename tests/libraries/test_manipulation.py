"""The arm's references: which cube is next, which buttons bring about which lights, and that the arm gets there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.ogbench.policies import CUBE, effects_of_buttons, fewest_presses, next_cube, null_space
from ldm_hf.references import load_reference

from ..recorded import record_episode

HERE, THERE, ASIDE = np.array([0.4, -0.1, CUBE / 2]), np.array([0.4, 0.1, CUBE / 2]), np.array([0.5, 0.3, CUBE / 2])
ON_TOP = np.array([0, 0, CUBE])
SPOTS = np.stack([HERE, THERE, ASIDE])


@pytest.mark.parametrize(
    ("places", "targets", "cube", "target"),
    [
        ([HERE, THERE], [HERE, ASIDE], 1, ASIDE),  # the other one lies where it should
        ([HERE, THERE], [ASIDE + ON_TOP, ASIDE], 1, ASIDE),  # the lower one of a pile first
        ([HERE, ASIDE], [ASIDE + ON_TOP, ASIDE], 0, ASIDE + ON_TOP),  # then the upper one
        ([HERE, HERE + ON_TOP], [THERE, HERE], 1, ASIDE),  # each waits for the other, and 1 is on top
        ([HERE, THERE], [THERE, HERE], 1, ASIDE),  # an exchange: one goes aside
        ([HERE, ASIDE], [THERE, HERE], 0, THERE),  # the exchange goes on
    ],
)
def test_the_next_cube(places, targets, cube, target):
    chosen, place = next_cube(np.array(places), np.array(targets), SPOTS)
    assert chosen == cube and np.array_equal(place, target)


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_the_fewest_presses_bring_about_the_lights(rows, columns, data):
    effects = effects_of_buttons(rows, columns)
    idle = null_space(effects)
    pressed = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=rows * columns, max_size=rows * columns)), np.uint8
    )
    lights = effects @ pressed % 2
    found = fewest_presses(effects, lights, idle)
    assert np.array_equal(effects @ found % 2, lights)
    assert found.sum() <= pressed.sum()


def test_some_presses_change_nothing():
    """As is known of 4 x 4, where sixteen do, and of 3 x 3, where none does but to press nothing."""
    assert len(null_space(effects_of_buttons(4, 4))) == 16 and len(null_space(effects_of_buttons(3, 3))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("ogbench-cube-triple-task5-v0", 0.0),
        ("ogbench-cube-double-task4-v0", 0.1),
        ("ogbench-puzzle-3x3-task4-v0", 0.1),
        ("ogbench-pointmaze-teleport-task1-v0", 0.1),
    ],
)
def test_the_task_is_done_also_after_foreign_actions(name, share):
    """Not always: a random movement can drop a cube out of reach."""
    spec = get_spec(name)
    episode = record_episode(make(spec), load_reference(spec, "nowhere"), 0, share, name)
    assert episode["terminated"][-1]
