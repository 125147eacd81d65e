"""Whether this version can read a message in quarantine."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from compose.quarantine.entries import Entry
from schemas.audits import AuditState
from schemas.economics import Burn, UnitCosts
from schemas.quarantine import Put
from schemas.topics import AUDITS, BURN, HEARD, UNIT_COSTS, USAGE_GPU, USAGE_TOKENS
from schemas.usage import GpuTotals, Heard, TokenTotals
from streams.meter import Meter
from streams.telemetry import Message, Noticed, TelemetryReader
from streams.tokens import Tokens

_TELEMETRY = {agent.source: agent.schema for agent in (Meter, Tokens)}
_STATES: dict[str, TypeAdapter[Any]] = {
    USAGE_GPU: TypeAdapter(GpuTotals),
    USAGE_TOKENS: TypeAdapter(TokenTotals),
    HEARD: TypeAdapter(Heard),
    UNIT_COSTS: TypeAdapter(UnitCosts),
    BURN: TypeAdapter(Burn),
    AUDITS: TypeAdapter(AuditState),
}


class Reading(NamedTuple):
    """A message, read by this version."""

    entry: Entry
    put: Put
    reason: str
    """Why it cannot be read; empty = it can."""
    message: Message | None = None
    """The samples of a readable telemetry message."""
    noticed: Noticed | None = None
    """What a worker that reads it records beside them."""


def read(entry: Entry, put: Put) -> Reading:
    """Read a message as a worker would."""
    origin = put.origin
    if origin.topic in _TELEMETRY:
        reader = TelemetryReader(_TELEMETRY[origin.topic], lambda _shard, _boot: None)
        record = SimpleNamespace(**origin._asdict(), key=put.key, value=put.value, headers=list(put.headers))
        messages = list(reader.read([SimpleNamespace(message=record)]))
        noticed = reader.take()
        if not messages:
            return Reading(entry, put, noticed.rejected[0].reason)
        return Reading(entry, put, "", messages[0], noticed)
    if origin.topic in _STATES:
        try:
            _STATES[origin.topic].validate_json(put.value or b"")
        except ValidationError as error:
            return Reading(entry, put, str(error))
        return Reading(entry, put, "")
    return Reading(entry, put, f"nobody reads the topic {origin.topic!r}")
