"""highway-env (Leurent 2018): driving among other cars, and parking."""
