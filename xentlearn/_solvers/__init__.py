"""Solvers. Each minimises an objective (``contract.py``) and knows nothing of its data."""
