"""Environments of Gymnasium-Robotics."""
