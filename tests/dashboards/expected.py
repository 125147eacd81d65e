"""What the tiles must show, worked out from the seeded rows in plain Python, without SQL."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.dashboards.seed import AGREEMENT, AGREEMENTS, Burn, Ledger, UnitCost

CURRENCY = {"access-fund": "CAD", "research": "CAD", "uk-pool": "GBP"}


def _newest(ledger: Ledger, end: datetime, agreements: set[str]) -> dict[str, Burn | None]:
    newest: dict[str, Burn | None] = {}
    for terms in AGREEMENTS:
        if CURRENCY[terms.programme] == "CAD" and (not agreements or terms.id in agreements):
            rows = [row for row in ledger.burn if row.agreement == terms.id and row.minute <= end]
            newest[terms.id] = max(rows, key=lambda row: row.minute) if rows else None
    return newest


def burn_tiles(
    ledger: Ledger, from_ms: int, to_ms: int, agreements: set[str]
) -> dict[str, Fraction | Decimal | int | None]:
    """The six tiles of Subsidy burn by panel name, for the chosen agreements (empty: all)."""
    end = datetime.fromtimestamp(to_ms // 1000, UTC)
    newest = _newest(ledger, end, agreements)
    spent = {name: row.spent if row else AGREEMENT[name].spent_before for name, row in newest.items()}
    caps = {name: cap for name in newest if (cap := AGREEMENT[name].cap) is not None}
    last_minute = max(row.minute for row in ledger.burn if row.minute <= end)
    rate, ends = Decimal(0), []
    for name, row in newest.items():
        if row is None or row.minute < last_minute - timedelta(minutes=10):
            continue
        if name in caps and spent[name] >= caps[name]:
            continue
        rate += row.rate_per_hour
        if row.runway_hours:
            ends.append(int(row.ts.timestamp()) + int(row.runway_hours * 3600))
    lines = [
        line
        for line in _lines(ledger, from_ms, to_ms)
        if line.agreement and (not agreements or line.agreement in agreements)
    ]
    cost = sum((line.cost for line in lines), Decimal(0))
    return {
        "spent": sum(spent.values(), Decimal(0)),
        "remaining": sum((caps[name] - spent[name] for name in caps), Decimal(0)) if caps else None,
        "used": Fraction(sum(spent[name] for name in caps)) / Fraction(sum(caps.values())) if caps else None,
        "burn-rate": rate,
        "next-end": min(ends) * 1000 if ends else None,
        "subsidy-share": Fraction(sum(line.subsidy for line in lines)) / Fraction(cost) if cost else None,
    }


def _lines(ledger: Ledger, from_ms: int, to_ms: int, currency: str = "CAD") -> list[UnitCost]:
    return [
        line
        for line in ledger.unit_costs
        if from_ms // 1000 <= line.minute.timestamp() <= to_ms // 1000 and currency in ("", line.currency)
    ]


def economics_tiles(ledger: Ledger, from_ms: int, to_ms: int, closed: datetime) -> dict[str, Fraction]:
    """The tiles of Unit economics, all variables All, except coverage. `closed`: minutes before it are complete."""
    lines = _lines(ledger, from_ms, to_ms)
    serving = [line for line in lines if line.model]
    tokens = sum(line.prompt_tokens + line.generation_tokens for line in serving)
    known = sorted({line.minute for line in _lines(ledger, from_ms, to_ms, "") if line.minute < closed})
    whole = set(known[1:] or known)  # metering may have begun within the first
    done = [line for line in lines if line.minute in whole]
    minutes = len({line.minute for line in done})
    return {
        "cost-per-mtok": Fraction(sum(line.cost for line in serving)) * 1_000_000 / tokens,
        "energy-per-token": Fraction(sum(line.energy_j for line in serving)) / tokens,
        "tokens-per-second": Fraction(sum(line.prompt_tokens + line.generation_tokens for line in done), minutes * 60),
        "cost-per-hour": Fraction(sum(line.cost for line in done)) * 60 / minutes,
        "busy-share": Fraction(sum(line.busy_seconds for line in lines))
        / Fraction(sum(line.gpu_seconds for line in lines)),
    }
