"""The contract: everything that flows, is stored or is configured, and nothing that does I/O on its own."""
