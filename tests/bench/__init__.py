"""Measured speeds: `make bench` (python -m tests.bench). Not part of `make test`."""
