"""The built-in page: a faithful viewer of the dashboards on ClickHouse, without Grafana and without the internet."""

from dashboards.page.server import PageError, run

__all__ = ["PageError", "run"]
