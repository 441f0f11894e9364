"""The demonstration: a web page on which visitors watch a model play, and explore its results."""
