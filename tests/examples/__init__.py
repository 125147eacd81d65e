"""`python -m tests.examples` (`make examples`): the demonstration's month, and what finance makes of it."""
