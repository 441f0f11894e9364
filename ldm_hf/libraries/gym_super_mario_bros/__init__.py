"""gym-super-mario-bros (Kauten 2018): Super Mario Bros. for the Nintendo Entertainment System."""
