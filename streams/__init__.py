"""Faust agents that turn samples into usage, unit costs, burn and alerts, and the pure arithmetic they call."""
