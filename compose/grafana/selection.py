"""Which dashboards and rules go to a Grafana: all, or those of some roles, each with the data source it uses there.

In an open-source Grafana everybody in an organisation can use every data source of it, so roles that must not see each
other's rows have an organisation each, and each gets its own.
"""

from collections.abc import Iterator, Sequence

from compose.grafana.connection import Json
from dashboards.boards import DASHBOARDS
from dashboards.grafana.rules import rule_groups
from dashboards.grafana.sources import ANALYSTS, BY_AUDIENCE, SOURCES, Source
from dashboards.model import Dashboard
from schemas.config_alerts import Alerts

BY_ROLE = {source.uid.removeprefix("commonwatt-"): source for source in SOURCES}


def boards(sources: Sequence[Source]) -> Iterator[tuple[Dashboard, Source]]:
    """Dashboards with the data source that they open with: their audience's, else that of analysts."""
    for board in DASHBOARDS:
        own = BY_AUDIENCE[board.audience]
        if own in sources or ANALYSTS in sources:
            yield board, own if own in sources else ANALYSTS


def groups(settings: Alerts, sources: Sequence[Source]) -> Iterator[tuple[Json, list[Json]]]:
    """Groups of alert rules as in a provisioning file, with those of their rules that ask these data sources."""
    uids = {source.uid for source in sources}
    for group in rule_groups(settings):
        rules = group["rules"]
        assert isinstance(rules, list)
        kept = [rule for rule in rules if rule["data"][0]["datasourceUid"] in uids]
        if kept:
            yield dict(group), kept
