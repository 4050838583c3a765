"""What the audit reads of SQL: where offices stand, what was used, and whether charges and credits belong together."""
