"""What notices say, and the ways they go: the log, e-mail, a webhook. Knows neither ledger nor store."""
