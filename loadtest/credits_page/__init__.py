"""What it takes to open the Credits page, and how it fares on a month of 1,000,000 records."""
