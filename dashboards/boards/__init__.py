"""The dashboards, in the order in which they are offered."""

from dashboards.boards import agreement, fleet, metering_health, subsidy_burn, unit_economics
from dashboards.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (
    subsidy_burn.DASHBOARD,
    agreement.DASHBOARD,
    unit_economics.DASHBOARD,
    fleet.DASHBOARD,
    metering_health.DASHBOARD,
)
BY_UID: dict[str, Dashboard] = {dashboard.uid: dashboard for dashboard in DASHBOARDS}
