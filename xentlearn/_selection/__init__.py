"""Choosing C, the penalty and the loss: paths, cross-validation, leave-one-out."""
