"""One recorded episode, for tests of what happens in it."""

from ldm_hf.collection.actors import Perturbed
from ldm_hf.collection.recording import LabelledLane, record


def record_episode(env, reference, seed, share, name="environment"):
    """An episode in which the reference labels every step, and acts unless a foreign action is due."""
    return next(record([LabelledLane(env, reference, name)], Perturbed((share,)), seed, target=1))
