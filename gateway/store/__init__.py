"""The Valkey side: keys, records, scripts, connection; one method a script."""
