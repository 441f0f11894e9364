"""Crafter (Hafner 2021): survival in an open world, from pixels."""
