"""Reference data in the book: the history of them, and a table of each section for those who ask by SQL.

The tables hold what holds now. A changed row replaces its predecessor (ReplacingMergeTree by `recorded_at`); a row goes
when its entry was withdrawn. What was merely taken out of the file stays where the ledger still names it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from clickhouse_connect.driver.client import Client
from pydantic import BaseModel

from compose.reference import history
from schemas.config import Agreement, Config, Price
from schemas.config_values import written
from schemas.entries import config_of
from schemas.money import nano_to_decimal, to_nano
from schemas.prices import effective_end

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one section."""

    section: str
    key: tuple[str, ...]
    """Columns that it is ordered by."""
    columns: tuple[str, ...]
    """All of them in their order, before `recorded_at`."""
    rows: Callable[[Config], list[Row]]
    name_of: Callable[[dict[str, Any]], str] = lambda row: str(row["id"])
    """Name of the entry that a row came from (see :func:`schemas.entries.name_of`)."""

    def by_key(self, rows: Iterable[Sequence[object]]) -> dict[Row, Row]:
        """Rows by their key."""
        places = [self.columns.index(column) for column in self.key]
        return {tuple(row[place] for place in places): tuple(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of a configuration."""

    written: int
    """Rows of the history."""
    corrected: list[str]
    """Entries of the file that do not hold, because a correction was applied to them: ``price/fir-h100``."""


def store(client: Client, config: Config, *, source: str = "") -> Stored:
    """Record a configuration file, and bring the tables up to date. `source`: its name."""
    rows = history.record(client, config, source=source)
    refresh(client)
    return Stored(rows, history.differing(client, config))


def refresh(client: Client) -> int:
    """Make the tables say what holds now. Returns the number of rows written; 0 when nothing changed."""
    entries = history.newest(client)
    config = config_of((entry.key, entry.table) for entry in history.in_force(entries))
    now = datetime.now(UTC)
    total = 0
    for name, table in TABLES.items():
        query = "SELECT * EXCEPT recorded_at FROM {table:Identifier} FINAL"
        known = table.by_key(client.query(query, parameters={"table": name}).result_rows)
        wanted = table.by_key(table.rows(config))
        changed = [(*row, now) for key, row in wanted.items() if known.get(key) != row]
        if changed:
            client.insert(name, changed, column_names=[*table.columns, "recorded_at"])
        total += len(changed)
        for key, row in known.items():
            recorded = table.name_of(dict(zip(table.columns, row, strict=True)))
            if key not in wanted and (table.section, recorded) in entries:
                _delete(client, name, table, key)
    return total


def _delete(client: Client, name: str, table: Table, key: Row) -> None:
    """Take a row out: its entry was withdrawn, or moved to another first day."""
    conditions = [f"toString(`{column}`) = {{key{place}:String}}" for place, column in enumerate(table.key)]
    parameters = {f"key{place}": str(value) for place, value in enumerate(key)}
    client.command(
        f"ALTER TABLE `{name}` DELETE WHERE {' AND '.join(conditions)}",
        parameters=parameters,
        settings={"mutations_sync": 2},
    )


# ---- what is written -------------------------------------------------------------------------------------------------


def _clusters(config: Config) -> list[Row]:
    return [
        (
            cluster.id, cluster.name, cluster.operator, cluster.country, cluster.region,
            cluster.operator_country or cluster.country, cluster.timezone, _decimal(cluster.pue), cluster.max_gap_s,
        )
        for cluster in config.cluster
    ]  # fmt: skip


def _prices(config: Config) -> list[Row]:
    return [
        (
            price.id, price.cluster, price.gpu_model, price.basis, price.currency, _decimal(price.capex),
            _decimal(price.lifetime_years), _decimal(price.residual_value), _decimal(price.opex_per_gpu_hour),
            _decimal(price.energy_per_kwh), _json(price, "tariff"), _decimal(price.pue),
            _decimal(price.per_gpu_hour), price.effective_from, effective_end(price, config.price),
        )
        for price in config.price
    ]  # fmt: skip


def _agreements(config: Config) -> list[Row]:
    return [
        (
            agreement.id, agreement.programme, agreement.recipient, agreement.country, agreement.rule.kind,
            _terms(agreement.rule), _decimal(agreement.cap), _decimal(agreement.spent_before), agreement.after,
            _json(agreement, "plan"), agreement.starts, agreement.ends,
        )
        for agreement in config.agreement
    ]  # fmt: skip


TABLES = {
    "clusters": Table(
        "cluster",
        ("id",),
        ("id", "name", "operator", "country", "region", "operator_country", "timezone", "pue", "max_gap_s"),
        _clusters,
    ),
    "deployments": Table(
        "deployment",
        ("id",),
        ("id", "cluster", "model", "agreement", "shared"),
        lambda config: [(one.id, one.cluster, one.model, one.agreement, one.shared) for one in config.deployment],
    ),
    "prices": Table(
        "price",
        ("id", "effective_from"),
        (
            "id", "cluster", "gpu_model", "basis", "currency", "capex", "lifetime_years", "residual_value",
            "opex_per_gpu_hour", "energy_per_kwh", "tariffs", "pue", "per_gpu_hour", "effective_from", "effective_to",
        ),
        _prices,
    ),
    "fx_rates": Table(
        "fx_rate",
        ("base", "quote", "effective_from"),
        ("base", "quote", "rate", "effective_from"),
        lambda config: [(one.base, one.quote, _decimal(one.rate), one.effective_from) for one in config.fx_rate],
        lambda row: f"{row['base']}/{row['quote']}@{row['effective_from']}",
    ),
    "programmes": Table(
        "programme",
        ("id",),
        ("id", "name_en", "name_fr", "budget", "currency", "stacking_limit", "starts", "ends"),
        lambda config: [
            (
                one.id, one.name.get("en", ""), one.name.get("fr", ""), _decimal(one.budget), one.currency,
                "" if one.stacking_limit is None else written(one.stacking_limit), one.starts, one.ends,
            )
            for one in config.programme
        ],
    ),
    "agreements": Table(
        "agreement",
        ("id",),
        (
            "id", "programme", "recipient", "country", "rule", "terms", "cap", "spent_before", "after", "plan",
            "starts", "ends",
        ),
        _agreements,
    ),
    "rgu_weights": Table(
        "rgu",
        ("gpu_model", "slice", "effective_from"),
        ("gpu_model", "slice", "share_num", "share_den", "weight", "effective_from"),
        lambda config: [
            (one.gpu_model, one.slice, *one.share.as_integer_ratio(), _decimal(one.weight), one.effective_from)
            for one in config.rgu
        ],
        lambda row: f"{row['gpu_model']}{'/' * bool(row['slice'])}{row['slice']}@{row['effective_from']}",
    ),
    "carbon_intensity": Table(
        "carbon",
        ("region", "effective_from"),
        ("region", "g_per_kwh", "vintage", "source", "effective_from"),
        lambda config: [
            (one.region, _decimal(one.g_per_kwh), one.vintage, one.source, one.effective_from)
            for one in config.carbon
        ],
        lambda row: f"{row['region']}@{row['effective_from']}",
    ),
    "pools": Table(
        "pool",
        ("id",),
        ("id", "currencies", "allies"),
        lambda config: [(one.id, one.currencies, one.allies) for one in config.pool],
    ),
}  # fmt: skip
"""The tables, by name."""


def _terms(rule: BaseModel) -> str:
    """Parameters of a rule as JSON; a share stays a fraction: ``{"share": "2/3"}``."""
    return json.dumps(rule.model_dump(mode="json", exclude={"kind"}, exclude_none=True), sort_keys=True)


def _json(entry: Price | Agreement, name: str) -> str:
    return json.dumps(entry.model_dump(mode="json", include={name})[name])


def _decimal(amount: Fraction | None) -> Decimal | None:
    return None if amount is None else nano_to_decimal(to_nano(amount))
