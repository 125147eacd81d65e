"""What `demo` and `up` show while they run and when they end: a few figures from the book."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.config import Config

_UNITS = """
SELECT model, cluster, any(currency) AS unit, sum(cost) AS cost, sum(subsidy) AS subsidy, sum(energy_j) AS energy_j,
       sum(prompt_tokens + generation_tokens) AS tokens
FROM unit_costs WHERE model != '' GROUP BY model, cluster HAVING tokens > 0 ORDER BY cost / tokens
"""
_BURNS = """
SELECT agreement, argMax(tuple(spent, cap, rate_per_hour, runway_hours, projected_end, currency), ts) AS state
FROM subsidy_burn GROUP BY agreement ORDER BY agreement
"""
_TOTALS = """
SELECT uniqExact(cluster), uniqExact(cluster, device), sum(gpu_seconds), sum(energy_j), sum(samples), max(ts_end)
FROM gpu_usage
"""
_ALERTS = """
SELECT severity, rule, summary, starts_at FROM alerts FINAL WHERE state = 'firing'
  AND (fingerprint, starts_at) NOT IN (SELECT fingerprint, starts_at FROM alerts WHERE state = 'resolved')
ORDER BY severity, starts_at
"""
_SEVERITY = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass(slots=True)
class Summary:
    """Figures of one moment."""

    units: Sequence[Mapping[str, Any]]
    burns: Sequence[Sequence[Any]]
    clusters: int
    devices: int
    gpu_seconds: Decimal
    energy_j: Decimal
    samples: int
    newest: datetime | None
    alerts: Sequence[Mapping[str, Any]]
    lag: int | None = None
    samples_per_s: float | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)


def read(client: Client) -> Summary:
    """Ask the book."""
    clusters, devices, gpu_seconds, energy_j, samples, newest = client.query(_TOTALS).result_rows[0]
    return Summary(
        units=list(client.query(_UNITS).named_results()),
        burns=[(row[0], *row[1]) for row in client.query(_BURNS).result_rows],
        clusters=clusters,
        devices=devices,
        gpu_seconds=gpu_seconds,
        energy_j=energy_j,
        samples=samples,
        newest=newest.replace(tzinfo=UTC) if devices else None,
        alerts=list(client.query(_ALERTS).named_results()),
    )


def render(summary: Summary, config: Config, title: str) -> RenderableType:
    """Two tables, the open alerts and a line of vital signs."""
    parts: list[RenderableType] = [Text(title, style="bold")]
    if not summary.devices:
        return Group(*parts, Text("waiting for the first figures …", style="dim"))
    parts += [_units(summary.units, config), _burns(summary.burns), _vital_signs(summary)]
    if summary.alerts:
        parts.append(_alerts(summary.alerts))
    if summary.addresses:
        parts.append(Text("   ".join(f"{name}: {address}" for name, address in summary.addresses.items())))
    return Group(*parts)


def show(console: Console, summary: Summary, config: Config, title: str) -> None:
    """Print a summary."""
    console.print(render(summary, config, title))


def _units(units: Iterable[Mapping[str, Any]], config: Config) -> Table:
    low, high = config.alerts.cost_per_mtok_low, config.alerts.cost_per_mtok_high
    table = Table(box=box.SIMPLE_HEAD, title="What a million tokens cost", title_justify="left", expand=False)
    for name in ("model", "cluster"):
        table.add_column(name)
    for name in ("tokens", "cost / 1M tokens", "J / token", "cost", "subsidy"):
        table.add_column(name, justify="right")
    table.add_column(f"band {float(low):.2f}–{float(high):.2f}")
    for row in units:
        per_mtok = row["cost"] * 1_000_000 / row["tokens"]
        inside = low <= per_mtok <= high
        side = "inside" if inside else ("above" if per_mtok > high else "below")
        table.add_row(
            row["model"], row["cluster"], f"{row['tokens']:,}", f"{per_mtok:.4f} {row['unit']}",
            f"{row['energy_j'] / row['tokens']:.4f}", f"{row['cost']:.4f}", f"{row['subsidy']:.4f}",
            Text(side, style="green" if inside else "yellow"),
        )  # fmt: skip
    return table


def _burns(burns: Iterable[Sequence[Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="How fast subsidy burns", title_justify="left", expand=False)
    table.add_column("agreement")
    for name in ("spent", "cap", "used", "per hour", "runway"):
        table.add_column(name, justify="right")
    table.add_column("ends")
    for agreement, spent, cap, rate, runway, end, currency in burns:
        used = spent / cap if cap else None
        table.add_row(
            agreement, f"{spent:,.2f} {currency}", f"{cap:,.0f}" if cap else "none",
            Text("–" if used is None else f"{used:.1%}", style="red" if used and used >= Decimal("0.8") else ""),
            f"{rate:,.2f}", _hours(runway), end.strftime("%Y-%m-%d") if end else "–",
        )  # fmt: skip
    return table


def _vital_signs(summary: Summary) -> Text:
    signs = [
        f"{summary.devices:,} devices on {summary.clusters} clusters",
        f"{summary.gpu_seconds / 3600:,.2f} GPU-hours",
        f"{summary.energy_j / 3_600_000:,.2f} kWh",
        f"{summary.samples:,} samples",
    ]
    if summary.samples_per_s is not None:
        signs.append(f"{summary.samples_per_s:,.0f} samples/s")
    if summary.lag is not None:
        signs.append(f"lag {summary.lag} messages")
    if summary.newest is not None:
        signs.append(f"newest figure {summary.newest:%H:%M:%S} UTC")
    return Text(" · ".join(signs), style="dim")


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"Open alerts: {len(alerts)}", title_justify="left", expand=False)
    for name in ("since", "severity", "rule", "what happened"):
        table.add_column(name)
    for row in alerts[:12]:
        severity = Text(row["severity"], style=_SEVERITY.get(row["severity"], ""))
        table.add_row(f"{row['starts_at']:%H:%M:%S}", severity, row["rule"], row["summary"])
    return table


def _hours(hours: float | None) -> str:
    if hours is None:
        return "–"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} d"
