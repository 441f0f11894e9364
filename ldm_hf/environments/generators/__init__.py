"""Rows of libraries that register many environments, as `ldm envs generate` writes them."""

from .writing import GENERATORS, generate_rows

__all__ = ["GENERATORS", "generate_rows"]
