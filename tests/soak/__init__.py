"""`make soak`: faults of every kind at random but seeded moments, and the ledger that comes out the same."""
