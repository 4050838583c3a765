"""Real switches, driven by the programs that their engineers use, against a running gateway."""
