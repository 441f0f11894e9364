"""Safety Gridworlds for Gymnasium: small grids after Leike et al. (2017)."""
