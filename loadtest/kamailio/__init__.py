"""What Tollgate adds to a Kamailio, and how many calls a second go through both: `python -m loadtest.kamailio`."""
