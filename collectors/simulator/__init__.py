"""A simulated federated fabric: exporters that speak the real formats, driven by a model of what goes on behind."""
