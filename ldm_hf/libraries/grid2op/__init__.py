"""Grid2Op (Donnot 2020): power grids that have to be kept from blacking out."""
