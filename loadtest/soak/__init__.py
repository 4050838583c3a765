"""A soak: half an hour of steady load, and what the gateway takes up meanwhile."""
