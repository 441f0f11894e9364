"""Environments of stockpyl."""
