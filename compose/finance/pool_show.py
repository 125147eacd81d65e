"""The pool report for the terminal, as JSON, and as CSV with one figure a row."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compose.finance.carbon import MJ_PER_KWH, Emissions
from compose.finance.pool import PoolReport
from compose.finance.pooling import CLASSES, Account, Figures, Shares
from schemas.money import NANO, nano_to_decimal, split, to_nano

_NS_PER_HOUR = 3600 * NANO
_DEFINITIONS = (
    "domestic: the cluster stands in the recipient's country and is run from there",
    "allied: not domestic; it stands in, and is run from, countries of the pool or their allies",
    "foreign: everything else, so also a cluster at home that is run from elsewhere",
    "cost: of the day's usage at the day's exchange rate; energy and CO2e: all that was metered, idle time included",
    "facility: GPU energy x PUE of the cluster, and CO2e is that of the facility; not known where a cluster has no pue",
)
_FIELDS = (
    "section", "pool", "recipient_country", "cluster_country", "class", "region", "vintage", "measure", "unit", "value",
)  # fmt: skip


# ---- the terminal ----------------------------------------------------------------------------------------------------


def as_tables(report: PoolReport) -> RenderableType:
    """Usage, balance and shares of each pool; energy and carbon of each region; what the words mean."""
    believed = f", as believed on {report.as_of:%Y-%m-%d %H:%M:%S} UTC" if report.as_of else ""
    parts: list[RenderableType] = [Text(f"Pooled compute in {report.month:%Y-%m}{believed}", style="bold")]
    for account in report.accounts:
        parts += [_used(account), _balances(account), _shares(account)]
    if not report.accounts:
        parts.append(Text("no [[pool]] is described in the reference data"))
    parts += [_regions(report.emissions), *(Text(line, style="dim") for line in _DEFINITIONS)]
    return Group(*parts)


def _new(title: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _used(account: Account) -> Table:
    table = _new(
        f"{account.pool.id}: usage", ("recipients of", "on clusters in"), ("GPU-hours", "RGU-hours", "GPU kWh", "cost")
    )
    for (recipient, cluster), figures in account.used.items():
        table.add_row(recipient, cluster, *_cells(figures, sign=""))
    return table


def _balances(account: Account) -> Table:
    table = _new(
        f"{account.pool.id}: balance, lent less borrowed", ("lent by", "to"),
        ("GPU-hours", "RGU-hours", "GPU kWh", "cost"),
    )  # fmt: skip
    for pair in combinations(account.pool.currencies, 2):
        table.add_row(*pair, *_cells(account.balances[pair], sign="+"))
    return table


def _cells(figures: Figures, sign: str) -> list[str]:
    def number(value: Fraction) -> str:
        return format(nano_to_decimal(to_nano(value)), f"{sign},.2f")

    costs = [f"{number(Fraction(cost, NANO))} {currency}" for currency, cost in sorted(figures.cost_nano.items())]
    hours = (Fraction(figures.gpu_ns, _NS_PER_HOUR), Fraction(figures.rgu_ns, _NS_PER_HOUR))
    return [*(number(value) for value in (*hours, Fraction(figures.energy_mj, MJ_PER_KWH))), "\n".join(costs)]


def _shares(account: Account) -> Table:
    table = _new(f"{account.pool.id}: where recipients compute", ("recipients of", "share of"), CLASSES)
    for country, shares in account.shares.items():
        for unit, found in (("GPU-hours", shares.gpu), ("RGU-hours", shares.rgu)):
            table.add_row(
                country, unit, *(f"{nano_to_decimal(_exact(found)[name]):.1%}" if found else "–" for name in CLASSES)
            )
    return table


def _regions(emissions: list[Emissions]) -> Table:
    table = _new("energy and carbon", ("country", "region", "intensity of"), ("GPU kWh", "facility kWh", "kg CO2e"))
    for row in emissions:
        measures = _of_emissions(row).values()
        table.add_row(
            row.country, row.region or "none given", row.vintage or "not known",
            *("not known" if value is None else f"{Decimal(value):,.2f}" for value in measures),
        )  # fmt: skip
    return table


# ---- JSON and CSV ----------------------------------------------------------------------------------------------------


def as_json(report: PoolReport) -> str:
    """Figures are decimals of nine places, in quotes; the shares of a country add up to exactly 1."""
    return json.dumps(
        {
            "month": f"{report.month:%Y-%m}",
            "as_of": report.as_of.isoformat().replace("+00:00", "Z") if report.as_of else None,
            "definitions": list(_DEFINITIONS),
            "pools": [
                {
                    "pool": account.pool.id,
                    "usage": [
                        {"recipient_country": recipient, "cluster_country": cluster, **_of_figures(figures)}
                        for (recipient, cluster), figures in account.used.items()
                    ],
                    "balances": [
                        {"lent_by": one, "to": other, **_of_figures(figures)}
                        for (one, other), figures in account.balances.items()
                    ],
                    "shares": [
                        {"recipient_country": country, **_of_shares(shares)}
                        for country, shares in account.shares.items()
                    ],
                }
                for account in report.accounts
            ],
            "regions": [
                {"country": row.country, "region": row.region, "vintage": row.vintage, **_of_emissions(row)}
                for row in report.emissions
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_csv(report: PoolReport) -> str:
    """Sections usage, balance (lent by cluster_country to recipient_country), share and region."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, restval="")
    writer.writeheader()
    writer.writerows(_figures(report))
    return text.getvalue()


def _figures(report: PoolReport) -> Iterator[dict[str, str]]:
    for account in report.accounts:
        pool = account.pool.id
        for (recipient, cluster), figures in account.used.items():
            where = {"section": "usage", "pool": pool, "recipient_country": recipient, "cluster_country": cluster}
            yield from (where | figure for figure in _measures(figures))
        for (one, other), figures in account.balances.items():
            where = {"section": "balance", "pool": pool, "recipient_country": other, "cluster_country": one}
            yield from (where | figure for figure in _measures(figures))
        for country, shares in account.shares.items():
            where = {"section": "share", "pool": pool, "recipient_country": country}
            for measure, classes in _of_shares(shares).items():
                for name, share in (classes or {}).items():
                    yield where | {"class": name, "measure": measure, "unit": "1", "value": share}
    for row in report.emissions:
        where = {
            "section": "region", "cluster_country": row.country, "region": row.region, "vintage": row.vintage or "",
        }  # fmt: skip
        for measure, value in _of_emissions(row).items():
            yield where | {"measure": measure, "unit": measure.rpartition("_")[2], "value": value or ""}


def _measures(figures: Figures) -> Iterator[dict[str, str]]:
    for measure, value in _of_figures(figures).items():
        if isinstance(value, dict):
            yield from ({"measure": measure, "unit": currency, "value": cost} for currency, cost in value.items())
        else:
            yield {"measure": measure, "unit": measure.rpartition("_")[2], "value": value}


def _of_figures(figures: Figures) -> dict[str, str | dict[str, str]]:
    return {
        "gpu_hours": _decimal(Fraction(figures.gpu_ns, _NS_PER_HOUR)),
        "rgu_hours": _decimal(Fraction(figures.rgu_ns, _NS_PER_HOUR)),
        "energy_kwh": _decimal(Fraction(figures.energy_mj, MJ_PER_KWH)),
        "cost": {currency: _decimal(Fraction(cost, NANO)) for currency, cost in sorted(figures.cost_nano.items())},
    }


def _of_shares(shares: Shares) -> dict[str, dict[str, str] | None]:
    return {
        measure: {name: f"{nano_to_decimal(nano):f}" for name, nano in _exact(found).items()} if found else None
        for measure, found in (("gpu_hours", shares.gpu), ("rgu_hours", shares.rgu))
    }


def _of_emissions(row: Emissions) -> dict[str, str | None]:
    return {
        "energy_kwh": _decimal(Fraction(row.energy_mj, MJ_PER_KWH)),
        "facility_kwh": None if row.facility_mj is None else _decimal(row.facility_mj / MJ_PER_KWH),
        "carbon_kg": None if row.carbon_g is None else _decimal(row.carbon_g / 1000),
    }


def _exact(shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Shares in units of 1e-9 whose sum stays 1."""
    denominator = math.lcm(*(share.denominator for share in shares.values()))
    weights = [int(share * denominator) for share in shares.values()]
    return dict(zip(shares, split(NANO, weights), strict=True))


def _decimal(value: Fraction) -> str:
    return f"{nano_to_decimal(to_nano(value)):f}"
