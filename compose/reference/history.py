"""The history of reference data: every entry of the configuration as it was recorded, and what held when.

The table `reference_history` only grows. As of a moment T an entry is what its newest row with `recorded_at <= T` says,
unless that row withdraws it. Entries come from the configuration file of `up`, or are corrections that a person applied
(`commonwatt reference apply`): a file never undoes a correction.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

from clickhouse_connect.driver.client import Client

from schemas.config import Cluster, Config
from schemas.config_section import Section
from schemas.entries import SECTIONS, Key, config_of, entries_of

# Where several entries fit a label, the first one holds.
_ORDERED = frozenset({"deployment", "agreement"})
# What a file no longer has is withdrawn, lest it goes on to price. The other sections stay, for the ledger names them.
_FOLLOWS_FILE = frozenset({"price", "fx_rate", "rgu", "carbon", "pool"})

_MILLISECOND = timedelta(milliseconds=1)

_NEWEST = """
SELECT section, id, toUnixTimestamp64Milli(recorded_at), position, body, withdrawn, origin, source
FROM reference_history
WHERE recorded_at <= fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
ORDER BY recorded_at DESC
LIMIT 1 BY section, id
"""
_CHANGES = """
SELECT section, id, toUnixTimestamp64Milli(recorded_at), position, body, withdrawn, origin, source
FROM reference_history
WHERE {section:String} IN ('', section) AND {name:String} IN ('', id)
ORDER BY recorded_at, section, position, id
"""
_LATEST = """
SELECT toUnixTimestamp64Milli(max(recorded_at)), count()
FROM reference_history
WHERE recorded_at <= fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
"""
_MOMENTS = """
SELECT DISTINCT toUnixTimestamp64Milli(recorded_at) AS recorded_ms
FROM reference_history
WHERE section IN ('price', 'cluster', 'programme', 'agreement')
ORDER BY recorded_ms DESC
"""

Origin = Literal["configuration", "applied"]


class NoReference(LookupError):
    """Nothing is recorded until that moment. `str()` is the whole message for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the history."""

    section: str
    id: str
    recorded_at: datetime
    position: int
    """Place among the entries of its section: the first whose patterns fit holds."""
    table: Section
    withdrawn: bool
    origin: Origin
    source: str
    """File that it was read from."""

    @property
    def key(self) -> Key:
        return self.section, self.id


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be recorded of one entry."""

    key: Key
    table: Section
    position: int
    origin: Origin
    withdrawn: bool = False


# ---- reading ---------------------------------------------------------------------------------------------------------


def config_at(client: Client, moment: datetime | None = None) -> Config:
    """Everything but targets, as recorded until a moment (inclusive; None: now). Raises NoReference."""
    entries = newest(client, moment)
    if not entries:
        raise NoReference(
            f"No prices and agreements are recorded{' until ' + moment.isoformat() if moment else ''}: "
            "run `commonwatt up --config FILE` once, or `commonwatt reference apply FILE`."
        )
    return config_of((entry.key, entry.table) for entry in in_force(entries))


def latest_change_at(client: Client, moment: datetime | None = None) -> datetime:
    """When the reference data last changed until a moment (inclusive; None: now). Raises NoReference."""
    ((latest_ms, rows),) = client.query(_LATEST, parameters=_until(moment)).result_rows
    if not rows:
        raise NoReference(f"No reference data are recorded{' until ' + moment.isoformat() if moment else ''}.")
    return _moment(latest_ms)


def believed(client: Client) -> Iterator[Config]:
    """What was recorded at each change of prices, places or agreements, the newest first."""
    for (recorded_ms,) in client.query(_MOMENTS).result_rows:
        yield config_at(client, _moment(recorded_ms))


def newest(client: Client, moment: datetime | None = None) -> dict[Key, Entry]:
    """The newest row of every entry, those that are withdrawn too."""
    return {entry.key: entry for entry in _select(client, _NEWEST, _until(moment))}


def changes(client: Client, section: str = "", name: str = "") -> list[Entry]:
    """All rows of a section, or of one entry, oldest first; of everything when neither is given."""
    return _select(client, _CHANGES, {"section": section, "name": name})


def in_force(entries: Mapping[Key, Entry]) -> list[Entry]:
    """The entries that are not withdrawn, in the order of the configuration."""
    order = list(SECTIONS)
    held = [entry for entry in entries.values() if not entry.withdrawn]
    return sorted(held, key=lambda entry: (order.index(entry.section), entry.position, entry.id))


_FOREVER = datetime(2200, 1, 1, tzinfo=UTC)


def _until(moment: datetime | None) -> dict[str, object]:
    return {"until_ms": _ms(moment or _FOREVER)}


def _select(client: Client, query: str, parameters: dict[str, object]) -> list[Entry]:
    return [
        Entry(
            section, name, _moment(recorded_ms), position,
            SECTIONS[section].model_validate_json(body), withdrawn, origin, source,
        )
        for section, name, recorded_ms, position, body, withdrawn, origin, source in client.query(
            query, parameters=parameters
        ).result_rows
    ]  # fmt: skip


# ---- recording -------------------------------------------------------------------------------------------------------


def record(
    client: Client, config: Config, *, source: str, origin: Origin = "configuration", at: datetime | None = None
) -> int:
    """Record what differs from the newest rows, as of a moment (None: now). Returns how many rows were written.

    A configuration is the whole truth about prices, rates, weights and pools: what it no longer has is withdrawn.
    Where a correction was applied, the configuration changes nothing (see `differing`).
    """
    known, found = newest(client), recorded_of(config)
    if origin == "applied" and "finance" not in config.model_fields_set:
        del found["finance", "finance"]
    written = _changed(known, found, origin) + (_gone(known, found) if origin == "configuration" else [])
    append(client, written, source=source, at=at)
    return len(written)


def differing(client: Client, config: Config) -> list[str]:
    """Entries of a configuration (``price/fir-h100``) that do not hold, because a correction was applied to them."""
    known = newest(client)
    return [
        "/".join(key)
        for key, table in recorded_of(config).items()
        if key in known and known[key].origin == "applied" and (known[key].withdrawn or known[key].table != table)
    ]


def append(client: Client, written: Sequence[Change], *, source: str, at: datetime | None = None) -> None:
    """Add rows that share one `recorded_at`: this moment (None: now), but later than any before."""
    if not written:
        return
    recorded_at = at or datetime.now(UTC)
    with contextlib.suppress(NoReference):
        recorded_at = max(recorded_at, latest_change_at(client) + _MILLISECOND)
    rows = [
        (
            *change.key, recorded_at, change.position, change.table.model_dump_json(), change.withdrawn,
            change.origin, source,
        )
        for change in written
    ]  # fmt: skip
    columns = ("section", "id", "recorded_at", "position", "body", "withdrawn", "origin", "source")
    client.insert("reference_history", rows, column_names=columns)


def _changed(known: Mapping[Key, Entry], found: Mapping[Key, Section], origin: Origin) -> list[Change]:
    """What is new or not as recorded."""
    moved = {section for section in _ORDERED if not _in_order(known, [key for key in found if key[0] == section])}
    places: Counter[str] = Counter()
    written = []
    for key, table in found.items():
        section, position = key[0], places[key[0]]
        places[section] += 1
        entry = known.get(key)
        if entry is not None and origin == "configuration" and entry.origin == "applied":
            # The correction stays. How long a silence is metered is no part of it.
            corrected = measured_as(entry.table, table)
            if corrected != entry.table:
                written.append(Change(key, corrected, entry.position, "applied", entry.withdrawn))
            continue
        as_recorded = entry is not None and not entry.withdrawn and entry.table == table
        in_place = entry is not None and (section not in moved or entry.position == position)
        if not (as_recorded and in_place):
            written.append(Change(key, table, position, origin))
    return written


def _gone(known: Mapping[Key, Entry], found: Mapping[Key, Section]) -> list[Change]:
    """What stood in the configuration and no longer does."""
    return [
        Change(key, entry.table, entry.position, "configuration", withdrawn=True)
        for key, entry in known.items()
        if key not in found and key[0] in _FOLLOWS_FILE and entry.origin == "configuration" and not entry.withdrawn
    ]


def _in_order(known: Mapping[Key, Entry], keys: Sequence[Key]) -> bool:
    """Whether entries that are known already come in the order in which they are recorded."""
    positions = [known[key].position if key in known else place for place, key in enumerate(keys)]
    return all(one < other for one, other in pairwise(positions))


# ---- in force --------------------------------------------------------------------------------------------------------


def effective(client: Client, config: Config) -> Config:
    """A configuration with the corrections of the book: what was applied replaces the file's entry of that name.

    Applied entries that the file does not have are added. Targets, and the silences that they are metered over, are the
    file's.
    """
    applied = {key: entry for key, entry in newest(client).items() if entry.origin == "applied"}
    if not applied:
        return config
    found = {
        key: table for key, table in recorded_of(config).items() if key not in applied or not applied[key].withdrawn
    }
    found |= {entry.key: entry.table for entry in in_force(applied)}
    corrected = config_of(found.items())
    files = {cluster.id: cluster for cluster in config.cluster}
    clusters = [
        cluster.model_copy(update={"target": files[cluster.id].target, "max_gap": files[cluster.id].max_gap})
        if cluster.id in files
        else cluster
        for cluster in corrected.cluster
    ]
    kept = {name: getattr(config, name) for name in Config.model_fields if name not in SECTIONS}
    return corrected.model_copy(update={**kept, "cluster": clusters})


def current(client: Client, config: Config | None) -> Config | None:
    """The configuration with the corrections of the book; without one, what the book has. None: nothing is recorded."""
    if config is not None:
        return effective(client, config)
    with contextlib.suppress(NoReference):
        return config_at(client)
    return None


def recorded_of(config: Config) -> dict[Key, Section]:
    """The reference data of a configuration as they are recorded."""
    return {key: as_recorded(table) for key, table in entries_of(config).items()}


def as_recorded(table: Section) -> Section:
    """A cluster without targets; the longest silence, which may follow from them, is written out."""
    if isinstance(table, Cluster):
        return table.model_copy(update={"target": [], "max_gap": table.max_gap_s})
    return table


def measured_as(table: Section, other: Section) -> Section:
    """A cluster with the longest silence of another description of it; any other entry as it is."""
    if isinstance(table, Cluster) and isinstance(other, Cluster):
        return table.model_copy(update={"max_gap": other.max_gap})
    return table


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + ms * _MILLISECOND
