"""Inventory problems whose optima stockpyl (Snyder 2023) knows."""
