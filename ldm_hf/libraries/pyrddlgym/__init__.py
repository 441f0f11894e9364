"""Environments of pyRDDLGym."""
