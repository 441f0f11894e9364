"""gym-classics2: small worlds of textbooks on reinforcement learning."""
