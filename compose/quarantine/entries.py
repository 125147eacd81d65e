"""What the book says of the messages in quarantine."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from compose.access import NoAnswer
from compose.quarantine.reasons import kind_of
from schemas.quarantine import Origin


class Entry(NamedTuple):
    """One row of the view `quarantine`."""

    id: str
    ts: datetime
    topic: str
    kafka_partition: int
    kafka_offset: int
    reason: str
    bytes: int
    cluster: str
    shard: str
    collector: str
    boot: str
    seq: int | None
    digest: str
    replayed_at: datetime | None
    outcome: str

    @property
    def origin(self) -> Origin:
        return Origin(self.topic, self.kafka_partition, self.kafka_offset)

    @property
    def kind(self) -> str:
        """Name of the kind of reason."""
        return kind_of(self.reason).name


_QUERY = f"""
SELECT {", ".join(Entry._fields)} FROM quarantine
WHERE ({{cluster:String}} = '' OR cluster = {{cluster:String}}) AND (NOT {{open:Bool}} OR isNull(replayed_at))
ORDER BY ts, topic, kafka_partition, kafka_offset
"""


def select(
    client: Client, *, reason: str | None = None, cluster: str | None = None, open_: bool = False
) -> list[Entry]:
    """The messages in the order in which they were put aside. `reason`: a part of the reason or of its kind."""
    found = client.query(_QUERY, parameters={"cluster": cluster or "", "open": open_}).result_rows
    entries = [Entry(*row) for row in found]
    if reason is None:
        return entries
    part = reason.casefold()
    return [entry for entry in entries if part in entry.reason.casefold() or part in entry.kind]


def named(client: Client, names: Sequence[str]) -> list[Entry]:
    """The messages of these names, of several with one name the latest. Raises NoAnswer for a name that none has."""
    by_name = {entry.id: entry for entry in select(client)}
    for name in names:
        if name not in by_name:
            raise NoAnswer(f"no message in quarantine is named {name}: `commonwatt quarantine list` shows the names.")
    return [by_name[name] for name in dict.fromkeys(names)]
