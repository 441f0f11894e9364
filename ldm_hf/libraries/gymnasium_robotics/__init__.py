"""Gymnasium-Robotics: grippers and hands (Plappert et al. 2018), mazes (Fu et al. 2020) and a kitchen."""
