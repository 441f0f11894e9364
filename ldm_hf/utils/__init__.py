"""Helpers that know nothing of decisions: files, tables, processes, versions."""
