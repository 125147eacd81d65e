"""Protects the main job: `commonwatt demo` from an empty folder to figures that equal what truly happened.

The simulator writes down what it served and used between the first and the last scrape of each target; costs are
computed again here from the configuration file and the ledger's rows, with fractions, without Commonwatt's own code.
"""

import csv
import io
import json
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.compose.command import commonwatt

LATENESS_S = 0.5  # a page is dated when it was received; on a busy machine that is this much after it was made
FOR = "70s"  # long enough for a pod restart, a driver reload and a whole minute


@dataclass(frozen=True)
class Demo:
    """A finished run."""

    folder: Path
    output: str
    record: dict[str, Any]

    def rows(self, query: str) -> list[dict[str, str]]:
        """What the book answers, asked at rest, as text."""
        answer = commonwatt("sql", query, "--format", "csv", "--data", str(self.folder))
        assert answer.returncode == 0, answer.stderr
        return list(csv.DictReader(io.StringIO(answer.stdout)))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """One run of the demonstration."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    done = commonwatt("demo", "--for", FOR, "--data", str(folder))
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    return Demo(folder, done.stdout, json.loads((folder / "record.json").read_text()))


def test_it_ends_without_an_error_and_without_a_process(demo: Demo) -> None:
    """Nothing goes wrong on the way, and nothing of it goes on running."""
    said = "".join(path.read_text() for path in (demo.folder / "log").glob("*.log") if path.name != "broker.log")
    assert not re.search(r"ERROR|CRITICAL|Traceback", said), said
    left = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if str(demo.folder).encode() in command:
            left.append(command)
    assert left == []


def test_the_summary_says_what_a_million_tokens_cost(demo: Demo) -> None:
    """The newcomer's first number, with its unit, and the two others of the promise."""
    summary = demo.output[demo.output.rindex("What was metered") :]
    assert "cost / 1M tokens" in summary
    assert re.search(r"\d+\.\d{4} CAD", summary)
    assert "per hour" in summary
    assert "runway" in summary


def test_tokens_equal_what_was_served(demo: Demo) -> None:
    """Exactly, for every replica, model and tenant, over pod restarts."""
    names = ("prompt_tokens", "cached_tokens", "generation_tokens", "requests")
    metered = {
        (row["endpoint"], row["replica"], row["team"]): tuple(int(row[name]) for name in names)
        for row in demo.rows(
            f"SELECT endpoint, replica, team, {', '.join(f'sum({name}) AS {name}' for name in names)} "
            "FROM token_usage GROUP BY endpoint, replica, team"
        )
    }
    served: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for counter in demo.record["tokens"]:
        key = (counter["endpoint"], counter["replica"], counter["team"])
        for position, name in enumerate(names):
            served[key][position] += counter[name] or 0
    assert sum(total[0] for total in served.values()) > 100_000
    assert metered == {key: tuple(total) for key, total in served.items()}


def test_time_and_energy_equal_what_was_used(demo: Demo) -> None:
    """Time and energy of the fleet within 0.2 %, a driver reload included; no device off by more than a late scrape.

    What is between them is how late the last scrape of a short run is on a busy machine.
    """
    metered = {
        (row["cluster"], row["device"]): (Decimal(row["gpu_seconds"]), float(row["energy_j"]))
        for row in demo.rows(
            "SELECT cluster, device, sum(gpu_seconds) AS gpu_seconds, sum(energy_j) AS energy_j "
            "FROM gpu_usage GROUP BY cluster, device"
        )
    }
    used = {(device["cluster"], device["device"]): device for device in demo.record["devices"]}
    assert metered.keys() == used.keys()
    for key, device in used.items():
        assert float(metered[key][0]) == pytest.approx(device["gpu_seconds"], abs=LATENESS_S), key
    total_used = sum(device["energy_j"] for device in used.values())
    assert sum(energy for _, energy in metered.values()) == pytest.approx(total_used, rel=2e-3)
    assert float(sum(seconds for seconds, _ in metered.values())) == pytest.approx(
        sum(device["gpu_seconds"] for device in used.values()), rel=2e-3
    )


def test_time_by_tenant_equals_what_was_shown(demo: Demo) -> None:
    """Whose time it was, by the labels that held at each scrape."""
    keys = ("cluster", "device", "slice", "workload")
    metered = {
        tuple(row[name] for name in keys): float(row["gpu_seconds"])
        for row in demo.rows(
            f"SELECT {', '.join(keys)}, sum(gpu_seconds) AS gpu_seconds FROM gpu_usage GROUP BY {', '.join(keys)}"
        )
    }
    shown: dict[tuple[str, ...], float] = defaultdict(float)
    for holding in demo.record["holdings"]:
        workload = f"{holding['namespace']}/{holding['pod']}" if holding["pod"] else holding["job"]
        shown[holding["cluster"], holding["device"], holding["slice"], workload] += holding["shown"]["gpu_seconds"]
    shown = {key: seconds for key, seconds in shown.items() if seconds > 0}
    assert metered.keys() == shown.keys()
    for key, seconds in shown.items():
        assert metered[key] == pytest.approx(seconds, abs=LATENESS_S), key


def test_costs_equal_an_independent_calculation(demo: Demo) -> None:
    """Every ledger row to the nano-dollar; every subsidy from those rows, to the nano-dollar."""
    config = tomllib.loads((demo.folder / "demo.toml").read_text())
    clusters = {cluster["id"]: cluster for cluster in config["cluster"]}
    rows = demo.rows(
        "SELECT toString(minute) AS minute, cluster, gpu_model, deployment, agreement, gpu_seconds, energy_j, cost, "
        "currency FROM gpu_usage"
    )
    assert len(rows) > 250
    cost_of: dict[tuple[str, str, str, str, str], int] = defaultdict(int)
    for row in rows:
        day = date.fromisoformat(row["minute"][:10])
        price = price_of(config["price"], row["cluster"], row["gpu_model"], day)
        hours = Fraction(row["gpu_seconds"]) / 3600
        kwh = Fraction(row["energy_j"]) / 3_600_000
        if price["basis"] == "rented":
            exact = hours * Fraction(price["per_gpu_hour"])
        else:
            per_hour = Fraction(price["capex"]) / (Fraction(price["lifetime_years"]) * 8766)
            per_hour += Fraction(price.get("opex_per_gpu_hour", 0))
            pue = Fraction(str(clusters[row["cluster"]].get("pue", 1)))
            exact = hours * per_hour + kwh * Fraction(price.get("energy_per_kwh", 0)) * pue
        nano = round(exact * 10**9)
        assert nano == round(Fraction(row["cost"]) * 10**9), row
        assert row["currency"] == price.get("currency", "CAD")
        cost_of[row["minute"], row["cluster"], row["deployment"], row["agreement"], row["currency"]] += nano
    assert_unit_costs(demo, config, cost_of)


def assert_unit_costs(demo: Demo, config: dict[str, Any], cost_of: dict[tuple[str, str, str, str, str], int]) -> None:
    """Cost of each (minute, cluster, model, agreement), its subsidy and charge, from the ledger rows."""
    deployments = {item["id"]: item for item in config["deployment"]}
    agreements = {item["id"]: item for item in config["agreement"]}
    clusters = {item["id"]: item for item in config["cluster"]}
    tokens: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    by_line: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for row in demo.rows(
        "SELECT toString(minute) AS minute, cluster, deployment, model, agreement, "
        "sum(prompt_tokens + generation_tokens) AS tokens "
        "FROM token_usage WHERE counted GROUP BY ALL"
    ):
        tokens[row["minute"], row["cluster"], row["deployment"]][row["agreement"]] += int(row["tokens"])
        by_line[row["minute"], row["cluster"], row["model"], row["agreement"]] += int(row["tokens"])
    expected: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for (minute, cluster, deployment, agreement, currency), nano in cost_of.items():
        rate = rate_of(config["fx_rate"], currency, date.fromisoformat(minute[:10]))
        cad = round(nano * rate)
        known = deployments.get(deployment)
        model = known["model"] if known else ""
        weights = dict(tokens[minute, cluster, deployment])
        if known and known.get("shared") and sum(weights.values()):
            for tenant, part in divided(cad, weights).items():
                expected[minute, cluster, model, tenant] += part
        else:
            expected[minute, cluster, model, agreement] += cad
    stored = demo.rows(
        "SELECT toString(minute) AS minute, cluster, model, agreement, cost, subsidy, charge, currency FROM unit_costs"
    )
    found = {
        (row["minute"], row["cluster"], row["model"], row["agreement"]): round(Fraction(row["cost"]) * 10**9)
        for row in stored
    }
    assert {key: cost for key, cost in found.items() if cost} == {key: cost for key, cost in expected.items() if cost}
    for row in stored:
        if not row["agreement"]:
            assert Decimal(row["subsidy"]) == Decimal(row["charge"]) == 0
            continue
        key = (row["minute"], row["cluster"], row["model"], row["agreement"])
        agreement = agreements[row["agreement"]]
        subsidy = subsidy_of(agreement, clusters[row["cluster"]], key, found[key], by_line[key])
        assert round(Fraction(row["subsidy"]) * 10**9) == subsidy, row
        assert round(Fraction(row["charge"]) * 10**9) == found[key] - subsidy, row


def price_of(prices: list[dict[str, Any]], cluster: str, gpu_model: str, day: date) -> dict[str, Any]:
    """The one price that holds (the demonstration's prices do not overlap)."""
    holding = [
        price
        for price in prices
        if price["cluster"] == cluster
        and fnmatchcase(gpu_model, price.get("gpu_model", "*"))
        and price["effective_from"] <= day
    ]
    assert len(holding) == 1, (cluster, gpu_model)
    return holding[0]


def rate_of(rates: list[dict[str, Any]], currency: str, day: date) -> Fraction:
    """CAD for one unit of a currency on a day."""
    if currency == "CAD":
        return Fraction(1)
    holding = [
        rate for rate in rates if rate["base"] == currency and rate["quote"] == "CAD" and rate["effective_from"] <= day
    ]
    return Fraction(max(holding, key=lambda rate: rate["effective_from"])["rate"])


def divided(amount: int, weights: dict[str, int]) -> dict[str, int]:
    """Largest remainder; ties to the first in the order of names."""
    total = sum(weights.values())
    exact = {name: Fraction(amount * weight, total) for name, weight in weights.items()}
    parts = {name: int(share) for name, share in exact.items()}
    order = sorted(exact, key=lambda name: (parts[name] - exact[name], name))
    for name in order[: amount - sum(parts.values())]:
        parts[name] += 1
    return parts


def subsidy_of(agreement: dict[str, Any], cluster: dict[str, Any], key: tuple[str, ...], cost: int, tokens: int) -> int:
    """The programme's part, nano-dollars."""
    rule, day = agreement["rule"], date.fromisoformat(key[0][:10])
    if not agreement["starts"] <= day <= agreement["ends"]:
        return 0
    if rule["kind"] == "cost_share":
        if cluster["country"] == agreement.get("country", "CA"):
            return round(cost * Fraction(rule["share"]))
        until = rule.get("elsewhere_until")
        return round(cost * Fraction(rule.get("elsewhere", 0))) if until is None or day <= until else 0
    if rule["kind"] == "token_price":
        return cost - min(cost, round(Fraction(rule["per_mtok"]) * tokens * 1000))
    return cost


def test_check_passes_and_names_an_overlapping_row(demo: Demo) -> None:
    """The audits hold on the book of the run, and do not on one into which a row was smuggled."""
    done = commonwatt("check", "--data", str(demo.folder), "--config", str(demo.folder / "demo.toml"))
    assert done.returncode == 0, done.stdout
