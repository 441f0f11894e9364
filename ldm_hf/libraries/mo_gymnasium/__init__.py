"""Environments of MO-Gymnasium."""
