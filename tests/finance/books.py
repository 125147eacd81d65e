"""A ledger of whole hours for tests of settling, written by hand: one H100 on fir at CAD 3.60 an hour, and one more."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.config import Config

H100 = "NVIDIA H100 80GB HBM3"
MONTH = datetime(2026, 8, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def config(**changes: Any) -> Config:
    """A minute costs CAD 0.06. `acme` is paid 2/3 up to a cap of 1; what `lab` uses is paid whole."""
    term = {"starts": date(2020, 1, 1), "ends": date(2099, 12, 31)}

    def agreement(name: str, rule: dict[str, str], **more: Any) -> dict[str, Any]:
        return {"id": name, "programme": "fund", "recipient": name, "rule": rule, **term, **more}

    tables: dict[str, Any] = {
        "cluster": [{"id": "fir", "country": "CA"}],
        "price": [
            {
                "id": "fir-h100", "cluster": "fir", "basis": "rented", "per_gpu_hour": "3.60",
                "effective_from": date(2020, 1, 1),
            }
        ],
        "programme": [{"id": "fund", "budget": "1000", **term}],
        "agreement": [
            agreement("acme", {"kind": "cost_share", "share": "2/3"}, cap="1"),
            agreement("lab", {"kind": "credits"}, cap="50"),
        ],
    }  # fmt: skip
    return Config.model_validate({**tables, **changes})


def use(
    client: Client,
    hour: datetime,
    agreement: str,
    *,
    minutes: range = range(10),
    device: str = "GPU-0",
    gpu_model: str = H100,
) -> None:
    """A device, held in some minutes of an hour."""
    rows = [_row(hour + timedelta(minutes=minute), agreement, device) | {"gpu_model": gpu_model} for minute in minutes]
    client.insert("gpu_usage_store", [list(row.values()) for row in rows], column_names=list(rows[0]))


def _row(start: datetime, agreement: str, device: str) -> dict[str, Any]:
    return {
        "cluster": "fir", "device": device, "slice": "", "ts_start": start, "ts_end": start + timedelta(minutes=1),
        "minute": start, "shard": "fir/c/0", "node": "n", "vendor": "nvidia", "gpu_model": H100, "share_num": 1,
        "share_den": 1, "namespace": agreement, "pod": "p", "job": "", "account": "",
        "workload": f"{agreement}/p" if agreement else "", "deployment": "", "agreement": agreement,
        "gpu_seconds": Decimal(60), "energy_j": Decimal(18_000), "busy_seconds": Decimal(30),
        "busy_known_seconds": Decimal(60), "samples": 6, "method": "counter", "cost": Decimal("0.06"),
        "currency": "CAD", "price_version": "fir-h100@2020-01-01",
    }  # fmt: skip


def paid(client: Client, where: str = "1") -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """Cost, subsidy and charge of each agreement."""
    query = f"SELECT agreement, sum(cost), sum(subsidy), sum(charge) FROM charges WHERE {where} GROUP BY agreement"
    return {agreement: tuple(amounts) for agreement, *amounts in client.query(query).result_rows}


def entries(client: Client) -> int:
    """How many entries the journal has."""
    ((count,),) = client.query("SELECT count() FROM charges").result_rows
    return int(count)
