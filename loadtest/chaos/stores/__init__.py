"""The stores that a site may have: one behind a proxy, a primary behind sentinels, a Cluster."""
