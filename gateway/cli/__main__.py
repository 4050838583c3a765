"""`python -m gateway.cli` is `tollgate`."""

from gateway.cli import main

main()
