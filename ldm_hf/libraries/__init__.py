"""Libraries of environments, one folder each; nothing outside imports them, rows name what is in them."""
