"""or-gymnasium: problems of operations research."""
