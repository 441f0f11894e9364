"""The DeepMind Control Suite and its manipulation tasks (Tassa et al. 2018), through Shimmy."""
