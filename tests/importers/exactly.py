"""What tests of imports share: datasets read back, and values compared with those of their source."""

import numpy as np

from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.spaces import flatten
from ldm_hf.trajectories import open_dataset, validate


def brought(kind, source, folder, decided=None, **options):
    """Imports, and returns the stream; nothing is wrong with it."""
    info = import_trajectories(open_source(kind, source, **options), folder, progress=False, **(decided or {}))
    errors = [finding for finding in validate(folder, [info.name], progress=False) if finding.kind != "duplicates"]
    assert not [finding for finding in errors if finding.level == "error"]
    return open_dataset(folder)[info.name]


def episodes_of(stream):
    """The episodes of a stream, as `slice` gives them."""
    starts = stream.episode_starts
    return [stream.slice(*starts[number : number + 2]) for number in range(stream.num_episodes)]


def assert_same(found, wanted):
    """Checks that values are those of the source, to the precision in which they are stored, and no two are one now."""
    wanted = np.asarray(wanted)
    if found.dtype == object:
        assert found.tolist() == wanted.tolist()
        return
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted.astype(found.dtype)), (found, wanted)
    if found.dtype == np.float32:
        assert len(np.unique(found)) == len(np.unique(wanted))
        np.testing.assert_allclose(found, wanted, rtol=6e-8)
    elif found.dtype.kind in "iub":
        assert np.array_equal(found.astype(object), wanted.astype(object))


def assert_episode(steps, space, observation, action, reward=None):
    """Checks an episode as it is stored against the observation, action and reward of its source."""
    for path, values in flatten(space, observation).items():
        assert_same(steps["observation"][path], values)
    assert_same(steps["action"][""], action)
    if reward is not None:
        assert np.array_equal(steps["reward"], np.asarray(reward, np.float32))
