"""Environments behind one door: a catalogue in tables, and how its rows become Gymnasium environments."""

from .disguise import Disguise
from .isolation import installed_version
from .making import make, make_vec
from .specs import EnvironmentSpec, catalogue, get_spec

__all__ = ["Disguise", "EnvironmentSpec", "catalogue", "get_spec", "installed_version", "make", "make_vec"]
