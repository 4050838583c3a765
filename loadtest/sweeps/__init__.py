"""`python -m loadtest.sweeps` (`make bench-full`): the figures by how much there is of something, and what takes long.

A module an axis, each of which takes its yardsticks in the same run; `plots.py` and `tables.py` show them.
"""
