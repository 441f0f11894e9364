"""Environments of Super Mario Bros."""
