"""One module per exporter: what its page looks like, with only the numbers left open."""
