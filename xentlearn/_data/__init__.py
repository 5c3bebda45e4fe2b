"""Data: targets, rows of X, what is summed over them, and how they are read."""
