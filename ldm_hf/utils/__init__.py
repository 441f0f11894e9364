"""Small things that know nothing about environments or models."""
