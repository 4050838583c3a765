"""The SQL side: companies, offices, decks, tokens and numbered credits."""
