"""gym-pusht: pushing a T-shaped block into place."""
