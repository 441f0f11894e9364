"""QuantLib: prices of options, and paths of what they are written on."""
