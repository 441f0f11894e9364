"""gym-anytrading: trading in one stock, here on simulated prices."""
