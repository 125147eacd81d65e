"""The dashboards, in the order in which they are offered."""

from dashboards.boards import subsidy_burn, unit_economics
from dashboards.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (subsidy_burn.DASHBOARD, unit_economics.DASHBOARD)
BY_UID: dict[str, Dashboard] = {dashboard.uid: dashboard for dashboard in DASHBOARDS}
