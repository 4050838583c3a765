"""What every load on a whole gateway needs: the gateway, its offices, what the answers said, and the audit."""
