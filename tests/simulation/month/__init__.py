"""A month of many offices: their calls, messages, refills and owners, beside a book that knows no gateway."""
