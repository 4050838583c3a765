"""Users by locust: calls with their whole life, messages, and what goes wrong with them. See loadtest/README.md.

locust patches the standard library of the process that imports it. So only `locustfile`, `population` and `shape` do,
and only a process of its own imports these: `python -m loadtest.users` starts it, opens the offices before, and audits the
books after it.
"""
