"""MinAtar (Young & Tian 2019): Atari games reduced to ten by ten cells."""
