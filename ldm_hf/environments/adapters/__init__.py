"""Libraries whose environments are no well-behaved Gymnasium ids: one file a library, its ids in ``own.py``."""
