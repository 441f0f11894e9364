"""Gymnasium's own environments, some of them with altered physics."""
