"""Losses: settings that train on logits, and functions on predictions."""
