"""bsuite (Osband et al. 2020): small experiments, each of which tests one ability of an agent."""
