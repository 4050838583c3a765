"""Users by locust: calls with their whole life, messages, and what goes wrong with them. See loadtest/README.md.

locust patches the standard library of the process that imports it. So only `locustfile`, `population` and `shape` do,
and these are imported by a process of its own: `python -m loadtest.users` starts it, between set-up and audit.
"""
