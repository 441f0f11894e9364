"""Environments behind one door: a catalogue in tables, and how its rows become Gymnasium environments."""

from .catalogue import EnvironmentSpec, catalogue, get_spec
from .making import make, make_vec

__all__ = ["EnvironmentSpec", "catalogue", "get_spec", "make", "make_vec"]
