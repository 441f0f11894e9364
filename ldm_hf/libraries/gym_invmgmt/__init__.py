"""gym-invmgmt: orders in supply networks (Perez et al. 2021)."""
