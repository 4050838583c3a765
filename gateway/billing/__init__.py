"""Money in: cards that are charged, purchases, chargebacks, and what a crash has left of them.

SQL says what is to be done and what was done, the provider what became of a charge, the store what an office has.
"""
