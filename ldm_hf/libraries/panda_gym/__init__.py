"""panda-gym (Gallouédec et al. 2021): a Franka Emika Panda arm in PyBullet."""
