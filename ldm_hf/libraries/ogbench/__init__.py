"""OGBench (Park et al. 2025): goals for robot arms, walking bodies and points in mazes."""
