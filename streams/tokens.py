"""Agent `tokens`: telemetry.tokens -> token_usage, and the running minute totals on usage.tokens."""

from collections.abc import Sequence

from schemas.topics import TELEMETRY_TOKENS, USAGE_TOKENS
from schemas.usage import TokenTotals
from streams.booking.tokens import TokenBooking
from streams.ledger_agent import Folded, LedgerAgent
from streams.metering.tokens import TokenMeter
from streams.telemetry import Message


class Tokens(LedgerAgent):
    """Meters the token counters of every shard whose partition this worker has."""

    name = "tokens"
    source = TELEMETRY_TOKENS
    target = USAGE_TOKENS
    schema = "token-samples/1"
    ledger = "token_usage"

    def start(self) -> None:
        self._meter = TokenMeter()
        self._booking = TokenBooking(self._meter, self._context.reference)

    def know_from(self, shard: str, cluster: str, latest_ms: int) -> None:
        self._meter.know_from(shard, latest_ms)

    def doubt(self, shard: str) -> None:
        self._meter.doubt(shard)

    def fold(self, message: Message) -> None:
        shard, cluster = message.shard, message.envelope.cluster
        unknown = self._meter.unknown_counters(shard, cluster, message.batch)
        if unknown:
            counters = {label.counter for label in unknown}
            endpoints = sorted({label.endpoint for label in unknown})
            heads = self._context.book.token_heads(cluster, endpoints, message.ts_ms)
            names = ("cluster", "endpoint", "replica", "served_model", "team")
            own = [head for head in heads if tuple(head[name] for name in names) in counters]
            self._meter.load(shard, unknown, own)
        self._meter.fold(shard, cluster, message.batch)

    def take(self) -> Folded:
        usage, totals, unknown = self._booking.totals(*self._meter.take_rows())
        duplicates, self._meter.duplicates = self._meter.duplicates, 0
        return Folded({"token_usage_store": usage}, totals, unknown, self._meter.take_events(), duplicates)

    def totals_from_book(self, cluster: str, minutes_ms: Sequence[int], shards: Sequence[str]) -> Sequence[TokenTotals]:
        return self._context.book.token_totals(cluster, minutes_ms, shards)
