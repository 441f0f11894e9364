"""pyRDDLGym (Taitler et al. 2022): problems of the planning competitions in RDDL (Sanner 2010)."""
