"""Threads, messages, and checks of arguments."""
