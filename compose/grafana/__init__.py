"""A live Grafana: dashboards, data sources and alert rules pushed to it, and every query of theirs run there."""
