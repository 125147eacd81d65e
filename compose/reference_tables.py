"""Keeps the reference tables of the book equal to the configuration, so that SQL knows what the workers knew.

Rows are only added: a changed row replaces its predecessor (ReplacingMergeTree by `recorded_at`), and what was taken
out of the file stays in the book, because ledger rows still name it.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from clickhouse_connect.driver.client import Client

from schemas.config import Config, CostShare, Credits, Match, TokenPrice
from schemas.money import nano_to_decimal, to_nano
from schemas.prices import effective_end

Row = tuple[object, ...]

COLUMNS = {
    "clusters": ("id", "name", "operator", "country", "region", "pue", "max_gap_s"),
    "deployments": ("id", "cluster", "model", "agreement", "shared"),
    "prices": (
        "id", "cluster", "gpu_model", "basis", "currency", "capex", "lifetime_years", "opex_per_gpu_hour",
        "energy_per_kwh", "per_gpu_hour", "effective_from", "effective_to",
    ),
    "fx_rates": ("base", "quote", "rate", "effective_from"),
    "programmes": ("id", "name_en", "name_fr", "budget", "currency", "starts", "ends"),
    "agreements": (
        "id", "programme", "recipient", "country", "rule", "terms", "cap", "spent_before", "starts", "ends",
    ),
}  # fmt: skip
"""Columns of each reference table in their order, before `recorded_at`."""

# The book does not hold patterns of labels. An empty pattern matches nothing, as a label that is absent never matches.
_NO_DEVICE = Match(pod="")

# Section of the configuration file behind each table.
_SECTIONS = {table: table.removesuffix("s") for table in COLUMNS}


def store(client: Client, config: Config) -> int:
    """Write what differs from the book. Returns the number of rows written; 0 when nothing changed."""
    now = datetime.now(UTC)
    written = 0
    for table, rows in _rows(config).items():
        known = set(_select(client, table))
        changed = [(*row, now) for row in rows if row not in known]
        if changed:
            client.insert(table, changed, column_names=[*COLUMNS[table], "recorded_at"])
        written += len(changed)
    return written


def read(client: Client) -> Config | None:
    """The configuration as the book has it: everything but targets and patterns of labels. None = nothing recorded."""
    tables = {table: [_entry(table, row) for row in _select(client, table)] for table in COLUMNS}
    if not tables["clusters"]:
        return None
    return Config.model_validate({_SECTIONS[table]: entries for table, entries in tables.items()})


def _select(client: Client, table: str) -> Sequence[Row]:
    query = "SELECT * EXCEPT recorded_at FROM {table:Identifier} FINAL ORDER BY ALL"
    return [tuple(row) for row in client.query(query, parameters={"table": table}).result_rows]


def _entry(table: str, row: Row) -> dict[str, object]:
    """A row as the table of the configuration file that it came from."""
    named = zip(COLUMNS[table], row, strict=True)
    entry = {name: str(value) if isinstance(value, Decimal) else value for name, value in named}
    match table:
        case "clusters":
            entry["max_gap"] = entry.pop("max_gap_s")
        case "deployments":
            entry["match"] = _NO_DEVICE
        case "programmes":
            entry["name"] = {"en": entry.pop("name_en"), "fr": entry.pop("name_fr")}
        case "agreements":
            entry["rule"] = {"kind": entry["rule"], **json.loads(str(entry.pop("terms")))}
    return entry


def _rows(config: Config) -> dict[str, list[Row]]:
    return {
        "clusters": [
            (
                cluster.id, cluster.name, cluster.operator, cluster.country, cluster.region, _decimal(cluster.pue),
                cluster.max_gap_s,
            )
            for cluster in config.cluster
        ],
        "deployments": [
            (deployment.id, deployment.cluster, deployment.model, deployment.agreement, deployment.shared)
            for deployment in config.deployment
        ],
        "prices": [
            (
                price.id, price.cluster, price.gpu_model, price.basis, price.currency, _decimal(price.capex),
                _decimal(price.lifetime_years), _decimal(price.opex_per_gpu_hour), _decimal(price.energy_per_kwh),
                _decimal(price.per_gpu_hour), price.effective_from, effective_end(price, config.price),
            )
            for price in config.price
        ],
        "fx_rates": [(rate.base, rate.quote, _decimal(rate.rate), rate.effective_from) for rate in config.fx_rate],
        "programmes": [
            (
                programme.id, programme.name.get("en", ""), programme.name.get("fr", ""), _decimal(programme.budget),
                programme.currency, programme.starts, programme.ends,
            )
            for programme in config.programme
        ],
        "agreements": [
            (
                agreement.id, agreement.programme, agreement.recipient, agreement.country, agreement.rule.kind,
                _terms(agreement.rule), _decimal(agreement.cap), _decimal(agreement.spent_before),
                agreement.starts, agreement.ends,
            )
            for agreement in config.agreement
        ],
    }  # fmt: skip


def _terms(rule: CostShare | TokenPrice | Credits) -> str:
    """Parameters of a rule as JSON; a share stays a fraction: ``{"share": "2/3"}``."""
    return json.dumps(rule.model_dump(mode="json", exclude={"kind"}, exclude_none=True), sort_keys=True)


def _decimal(amount: Fraction | None) -> Decimal | None:
    return None if amount is None else nano_to_decimal(to_nano(amount))
