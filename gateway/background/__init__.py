"""Loops that keep the books current: each has a limit and is safe to run twice."""
