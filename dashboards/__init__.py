"""Dashboards: one definition of each panel, shown by Grafana (generated JSON) and by the built-in page."""
