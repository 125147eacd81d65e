"""Kafka topics, their keys, and the headers of a telemetry message."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.arrow import ARROW, SCHEMAS, Unreadable

TELEMETRY_GPU = "telemetry.gpu"
TELEMETRY_TOKENS = "telemetry.tokens"
USAGE_GPU = "usage.gpu"
USAGE_TOKENS = "usage.tokens"
HEARD = "usage.heard"
UNIT_COSTS = "economics.unit-costs"
BURN = "economics.burn"
ALERTS = "alerts"
AUDITS = "audits"
QUARANTINE = "quarantine"

# Partitions per topic. telemetry.*: the scale-out unit. usage.*: the same count and key, so that the range assignor
# hands both halves of a cluster to one worker. The rest is low volume; burn and alerts need every cluster in one place.
PARTITIONS = {
    TELEMETRY_GPU: 8,
    TELEMETRY_TOKENS: 8,
    USAGE_GPU: 8,
    USAGE_TOKENS: 8,
    HEARD: 1,
    UNIT_COSTS: 1,
    BURN: 1,
    ALERTS: 1,
    AUDITS: 1,
    QUARANTINE: 1,
}
COMPACTED = frozenset(
    {ALERTS, AUDITS}
)  # keyed by what they are about; the keys of usage.* are not (a cluster has many shards)
RETENTION_MS = 7 * 24 * 3600 * 1000  # telemetry and quarantine: as long as raw samples are kept
MAX_MESSAGE_BYTES = 8 * 1024 * 1024  # a tick of 4,096 devices is about 0.1 MB; room for long label sets
MAX_COUNT = 1 << 63  # numbers in headers are below: every store can hold them
MAX_ROWS = 4096  # per message: split above, never between two slices of one device


class Defect(BaseModel):
    """Something wrong with a source that a collector saw; recorded in the table `data_quality`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ts_ms: int = Field(ge=0, lt=4_102_444_800_000)
    """When, unix ms; before 2100, so that every store can hold it."""
    source: str
    """Where: the target's kind and URL, without credentials."""
    kind: str
    """What, in the name of the upstream defect: `sentinel_int64`, `truncated_page`, `target_down`, …"""
    subject: str = ""
    """Which device, series or file."""
    detail: str = ""


_DEFECTS = TypeAdapter(list[Defect])


@dataclass(frozen=True, slots=True)
class Envelope:
    """The headers of a telemetry message: who sent it, in which run, as which message of that run."""

    schema: str
    cluster: str
    collector: str
    boot: str
    seq: int
    rows: int
    content_type: str = ARROW
    defects: tuple[Defect, ...] = field(default=())

    def headers(self) -> list[tuple[str, bytes]]:
        """As Kafka headers, all values UTF-8 text."""
        pairs = [
            ("schema", self.schema),
            ("content-type", self.content_type),
            ("cluster", self.cluster),
            ("collector", self.collector),
            ("boot", self.boot),
            ("seq", str(self.seq)),
            ("rows", str(self.rows)),
        ]
        encoded = [(name, value.encode()) for name, value in pairs]
        if self.defects:
            encoded.append(("defects", _DEFECTS.dump_json(list(self.defects))))
        return encoded

    @classmethod
    def parse(cls, headers: Iterable[tuple[str, bytes]]) -> "Envelope":
        """Read Kafka headers. Raises Unreadable naming the header that is missing or malformed."""
        try:
            values = {name: value.decode() for name, value in headers if value is not None}
        except UnicodeDecodeError as error:
            raise Unreadable(f"a header is not UTF-8: {error}") from error
        missing = [name for name in ("schema", "cluster", "collector", "boot", "seq", "rows") if not values.get(name)]
        if missing:
            raise Unreadable(f"header {missing[0]!r} is missing")
        if values["schema"] not in SCHEMAS:
            raise Unreadable(f"unknown schema {values['schema']!r}; known: {', '.join(SCHEMAS)}")
        try:
            seq, rows = int(values["seq"]), int(values["rows"])
            defects = tuple(_DEFECTS.validate_json(values["defects"])) if values.get("defects") else ()
        except (ValueError, ValidationError) as error:
            raise Unreadable(f"malformed header: {error}") from error
        if not (0 <= seq < MAX_COUNT and 0 <= rows < MAX_COUNT):
            raise Unreadable(f"malformed header: seq {seq} or rows {rows} is outside 0..{MAX_COUNT - 1}")
        return cls(
            schema=values["schema"],
            cluster=values["cluster"],
            collector=values["collector"],
            boot=values["boot"],
            seq=seq,
            rows=rows,
            content_type=values.get("content-type", ARROW),
            defects=defects,
        )


def shard(cluster: str, collector: str, number: int) -> str:
    """Key of a telemetry message: `cluster/collector/n`. One device belongs to one shard of its collector."""
    return f"{cluster}/{collector}/{number}"
