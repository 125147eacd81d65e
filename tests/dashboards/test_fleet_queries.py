"""Unit economics, fleet operations and metering health show what plain Python finds in the seeded rows, and their parts
add up to their totals."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from dashboards.boards import fleet, metering_health, unit_economics
from dashboards.boards.defects import KINDS, OF_DEVICES
from dashboards.macros import Window
from dashboards.model import Dashboard, Kind, Panel
from schemas.alert_rules import BY_ID
from schemas.texts import LANGS, Lang
from tests.dashboards import expected_fleet, seed_fleet
from tests.dashboards.expected import Line, in_range, lines
from tests.dashboards.expected_fleet import Choice, Figure
from tests.dashboards.seed import CLUSTERS, DAY, HOUR, MINUTE, Ledger, devices, hour_of
from tests.dashboards.servers import ClickHouse
from tests.dashboards.test_queries import rows, windows

ECONOMICS, FLEET, HEALTH = unit_economics.DASHBOARD, fleet.DASHBOARD, metering_health.DASHBOARD
TITLE = {row[0]: row[1] for row in CLUSTERS}
CHOICES = {
    "all": Choice(),
    "one": Choice(("access-fund",), ("boreal-nlp",), ("fabric",), ("meta/llama-3.3-70b",)),
    "many": Choice(agreement=("acme-ai", "rrg-vision", "bristol"), cluster=("fir", "fabric", "isambard")),
    "programme": Choice(programme=("research",)),
    "pounds": Choice(currency="GBP"),
}


def _panel(board: Dashboard, name: str) -> Panel:
    return next(panel for panel in board.panels if panel.name == name)


def _ask(
    seeded: ClickHouse, board: Dashboard, name: str, window: Window, choice: Choice | None = None, lang: str = "en"
) -> list[dict[str, Any]]:
    return rows(seeded, board, _panel(board, name).sql, window, lang, **(choice or Choice()).variables())


def _ledger(seeded: ClickHouse) -> tuple[Ledger, dict[str, Window]]:
    assert seeded.ledger is not None
    return seeded.ledger, windows(seeded.ledger)


def _figures(
    seeded: ClickHouse, board: Dashboard, names: Sequence[str], window: Window, choice: Choice
) -> dict[str, Any]:
    answers = {name: _ask(seeded, board, name, window, choice) for name in names}
    return {name: answer[0]["value"] if answer else None for name, answer in answers.items()}


def _agree(got: Mapping[str, Any], want: Mapping[str, Figure]) -> bool:
    """Equal to the last digits of a double, in which ratios are given."""
    return dict(got) == pytest.approx({name: value if value is None else float(value) for name, value in want.items()})


def _compare(figures: Callable[[], Mapping[str, Any]], expected: Callable[[], Mapping[str, Figure]]) -> None:
    """A minute may close between the two computations: then the second try agrees."""
    if not _agree(figures(), expected()):
        got, want = figures(), expected()
        assert _agree(got, want), (got, {name: value and float(value) for name, value in want.items()})


# ---- unit economics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("span", ["1h", "30d", "1y", "past days", "empty"])
def test_economics_figures_against_python(seeded: ClickHouse, span: str, choice: Choice) -> None:
    """The six figures of unit economics from minutes, hours and days, for every kind of choice and currency."""
    ledger, spans = _ledger(seeded)
    want = expected_fleet.economics(ledger, spans[span], choice, datetime.now(UTC))
    assert [panel.name for panel in ECONOMICS.panels[:8]] == [*want, "observed", "newest"]
    _compare(
        lambda: _figures(seeded, ECONOMICS, list(want), spans[span], choice),
        lambda: expected_fleet.economics(ledger, spans[span], choice, datetime.now(UTC)),
    )


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("span", ["1h", "25h", "30d", "1y"])
def test_rows_of_the_cost_table_add_up(seeded: ClickHouse, span: str, choice: Choice) -> None:
    """Conservation: its rows are the cost of the range to the nano-unit, and what is in other currencies is named."""
    ledger, spans = _ledger(seeded)
    to_s = spans["1h"].to_s
    window = Window((to_s - 90_000) * 1000, to_s * 1000, 600_000) if span == "25h" else spans[span]
    found = [line for line in _totalled(ledger, window) if choice.of_line(line)]
    answer = _ask(seeded, ECONOMICS, "costs", window, choice)
    for column, name in (("total", "cost"), ("used", "usage_cost"), ("paid", "subsidy")):
        want = sum((getattr(line, name) for line in found if line.currency == choice.currency), Decimal(0))
        assert sum((row[column] for row in answer), Decimal(0)) == want
    assert sum(row["tokens"] for row in answer) == sum(line.prompt_tokens + line.generation_tokens for line in found)
    others: dict[str, Decimal] = {}
    for line in found:
        if line.currency != choice.currency:
            others[line.cluster] = others.get(line.cluster, Decimal(0)) + line.cost
    named = {row["cluster"]: row["other"] for row in answer if row["other"]}
    if choice.currency == "CAD":
        assert named == {cluster: f"{cost:.2f} GBP" for cluster, cost in others.items()}
    else:
        assert set(named) == set(others)
        assert all(other.endswith(" CAD") for other in named.values())


def _totalled(ledger: Ledger, window: Window) -> list[Line]:
    """Rows that a total is made of: of ranges of a day whole hours, and minutes before the first and after the last."""
    if not 300 <= window.interval_s < 900:
        return in_range(ledger, window)
    since, to = (datetime.fromtimestamp(second, UTC) for second in (window.from_s, window.to_s))
    first, last = hour_of(since + HOUR - timedelta(seconds=1)), hour_of(to)
    edges = [row for row in ledger.unit_costs if since <= row.minute <= to and not first <= row.minute < last]
    return [*lines(ledger, first, last, ledger.settled_until), *edges]


@pytest.mark.parametrize("name", ["cost-split", "cost-use"])
@pytest.mark.parametrize("span", ["1h", "30d", "1y"])
@pytest.mark.parametrize("choice", [CHOICES["all"], CHOICES["one"], CHOICES["pounds"]], ids=["all", "one", "pounds"])
def test_parts_of_the_cost_add_up(seeded: ClickHouse, name: str, span: str, choice: Choice) -> None:
    """Conservation: the parts of the cost are the cost of the hours in the range, settled or not, to the nano-unit."""
    ledger, spans = _ledger(seeded)
    since, to = (datetime.fromtimestamp(second, UTC) for second in (spans[span].from_s, spans[span].to_s))
    hours = [
        line
        for line in lines(ledger, since - 400 * DAY, to + DAY, ledger.settled_until)
        if choice.of_line(line) and line.currency == choice.currency
    ]
    begin = since.replace(hour=0, minute=0, second=0) if span == "1y" else since
    found = [line for line in hours if begin <= _hour(line) <= to]
    answer = _ask(seeded, ECONOMICS, name, spans[span], choice)
    assert sum((row["value"] for row in answer), Decimal(0)) == sum((line.cost for line in found), Decimal(0))
    assert ("not settled yet" in {row["series"] for row in answer}) or name == "cost-use"


def _hour(line: Line) -> datetime:
    return hour_of(line.minute if hasattr(line, "minute") else line.period_start)


def test_cost_is_split_as_it_was_settled(seeded: ClickHouse) -> None:
    """Owned devices: electricity, operation, purchase; rented ones: contract. What agreements pay, and what nobody
    does."""
    ledger, spans = _ledger(seeded)

    def totals(name: str, choice: Choice) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = {}
        for row in _ask(seeded, ECONOMICS, name, spans["30d"], choice, "fr"):
            sums[row["series"]] = sums.get(row["series"], Decimal(0)) + row["value"]
        return sums

    settled = [line for line in in_range(ledger, spans["30d"]) if not hasattr(line, "minute")]
    owned = totals("cost-split", CHOICES["all"])
    assert set(owned) == {"électricité", "exploitation", "achat", "pas encore réglé"}
    assert owned["électricité"] == sum(line.energy_cost for line in settled if line.currency == "CAD")
    assert set(totals("cost-split", CHOICES["pounds"])) == {"contrat", "pas encore réglé"}
    use = totals("cost-use", CHOICES["all"])
    assert set(use) == {"facturé, occupé", "facturé, inoccupé", "réservé par personne", "pas encore réglé"}
    assert use["réservé par personne"] == sum(line.cost for line in settled if not line.agreement)


def test_cost_after_subsidy_is_below_the_full_cost(seeded: ClickHouse) -> None:
    """Both lines at each time; what lies between them is the subsidy of that time."""
    ledger, spans = _ledger(seeded)
    answer = _ask(seeded, ECONOMICS, "cost-after-subsidy", spans["1h"])
    full, after = (
        {row["time"]: row["value"] for row in answer if row["series"] == series}
        for series in ("full cost", "after subsidy")
    )
    assert full.keys() == after.keys()
    minute = sorted(full)[5]
    found = [
        line
        for line in ledger.unit_costs
        if line.minute == minute.replace(tzinfo=UTC) and line.model and line.currency == "CAD"
    ]
    tokens = sum(line.prompt_tokens + line.generation_tokens for line in found)
    assert full[minute] == pytest.approx(float(Fraction(sum(line.cost for line in found)) * 10**6 / tokens))
    assert full[minute] - after[minute] == pytest.approx(
        float(Fraction(sum(line.subsidy for line in found)) * 10**6 / tokens)
    )


@pytest.mark.parametrize("lang", LANGS)
def test_words_in_sql_follow_the_language(seeded: ClickHouse, lang: Lang) -> None:
    """Words and numbers that SQL writes are those of the dashboard's language."""
    _, spans = _ledger(seeded)
    french = lang == "fr"
    models = {row["model_title"] for row in _ask(seeded, ECONOMICS, "costs", spans["1h"], lang=lang)}
    assert ("aucun modèle" if french else "no model") in models
    (power,) = _ask(seeded, FLEET, "power", spans["1h"], lang=lang)
    assert power["note"].startswith("bâtiment " if french else "facility ")
    assert power["note"].endswith(" kW")
    assert ("," if french else ".") in power["note"]
    (idle,) = _ask(seeded, FLEET, "idle-cost", spans["1h"], lang=lang)
    assert idle["note"] == ("5 appareils + 2,75 GBP/h" if french else "5 devices + 2.75 GBP/h")
    (none,) = _ask(seeded, FLEET, "idle-cost", spans["1h"], Choice(cluster=("narval",)), lang)
    assert (none["value"], none["note"]) == (0, "0 appareil" if french else "0 devices")


# ---- fleet operations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("span", ["1h", "30d", "1y", "past hours", "empty"])
def test_fleet_figures_against_python(seeded: ClickHouse, span: str, choice: Choice) -> None:
    """The six figures of fleet operations, of the last minutes before the end of the range and of the whole range."""
    ledger, spans = _ledger(seeded)
    want = expected_fleet.fleet(ledger, spans[span], choice)
    assert [panel.name for panel in FLEET.panels[:8]] == [*want, "observed", "newest"]
    got = _figures(seeded, FLEET, list(want), spans[span], choice)
    assert _agree(got, want), (got, {name: value and float(value) for name, value in want.items()})


def test_emissions_that_are_not_known_are_said(seeded: ClickHouse) -> None:
    """A region without an intensity: its energy is left out, and how much that is stands beside the figure."""
    ledger, spans = _ledger(seeded)
    found = in_range(ledger, spans["30d"])
    unknown = sum((line.energy_j for line in found if line.cluster == "isambard"), Decimal(0))
    share = round(100 * unknown / sum((line.energy_j for line in found), Decimal(0)), 1)
    (answer,) = _ask(seeded, FLEET, "carbon", spans["30d"])
    assert answer["note"] == f"without {float(share):g} % of the energy: not known"
    (alone,) = _ask(seeded, FLEET, "carbon", spans["30d"], Choice(cluster=("isambard",)))
    assert (alone["value"], alone["note"]) == (None, "without 100 % of the energy: not known")
    assert {row["series"] for row in _ask(seeded, FLEET, "carbon-by-cluster", spans["30d"])} == {
        "Fir", "Narval", "AI Fabric",
    }  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_idle_devices_are_those_of_the_figure(seeded: ClickHouse, choice: Choice) -> None:
    """Conservation: the rows of a currency add up to the figure. Not in it: who holds too briefly, who has given back,
    what is held by nobody, and what was not measured. Each leads to its agreement at its own time."""
    ledger, spans = _ledger(seeded)
    answer = _ask(seeded, FLEET, "idle-devices", spans["1h"], choice)
    want = expected_fleet.idle(ledger, spans["1h"], choice)
    assert Counter((row["device_title"], row["workload"]) for row in answer) == Counter(
        (f"{one.device} / {one.slice}" if one.slice else one.device, one.workload) for one in want
    )
    (figure,) = _ask(seeded, FLEET, "idle-cost", spans["1h"], choice)
    assert figure["value"] == pytest.approx(
        sum(row["per_hour"] for row in answer if row["currency"] == choice.currency)
    )
    assert [row["per_hour"] for row in answer] == sorted((row["per_hour"] for row in answer), reverse=True)
    for row in answer:
        assert row["to_ms"] == int(ledger.now.timestamp() * 1000)
        assert 28 * 60_000 < row["to_ms"] - row["from_ms"] <= 30 * 60_000


def test_hottest_devices(seeded: ClickHouse) -> None:
    """By the newest temperature; the highest of the minutes beside it; a sliced device once, with all who hold it."""
    _, spans = _ledger(seeded)
    answer = _ask(seeded, FLEET, "hottest", spans["1h"])
    assert [(row["device"], row["newest_c"], row["most_c"]) for row in answer] == [
        ("GPU-5117", 86.0, 88.0), ("GPU-c0de", 64.0, 91.0), ("GPU-77aa", 41.0, 41.0),
    ]  # fmt: skip
    assert (answer[0]["held_by"], answer[0]["power_kw"]) == ("7001", pytest.approx(0.512))
    assert [row["device"] for row in _ask(seeded, FLEET, "hottest", spans["1h"], Choice(cluster=("narval",)))] == [
        "GPU-77aa"
    ]


def test_power_and_emissions_of_a_minute(seeded: ClickHouse) -> None:
    """A point is energy by time, and that times PUE and intensity."""
    ledger, spans = _ledger(seeded)
    power = _ask(seeded, FLEET, "power-by-cluster", spans["1h"])
    carbon = {
        (row["time"], row["series"]): row["value"] for row in _ask(seeded, FLEET, "carbon-by-cluster", spans["1h"])
    }
    assert {row["series"] for row in power} == set(TITLE.values())
    for row in power[20:40]:
        energy_j = sum(
            line.energy_j
            for line in ledger.unit_costs
            if line.minute == row["time"].replace(tzinfo=UTC) and TITLE[line.cluster] == row["series"]
        )
        assert row["value"] == pytest.approx(float(energy_j) / 60 / 1000)
        if row["series"] == "Fir":
            want = float(energy_j) * 60 / 3.6e6 * 1.08 * 24.1 / 1000
            assert carbon[row["time"], "Fir"] == pytest.approx(want)


def test_held_share_of_settled_hours(seeded: ClickHouse) -> None:
    """From the newest revision of each hour that was rolled up, and of none since."""
    ledger, spans = _ledger(seeded)
    window = Window(spans["30d"].to_ms - 20 * 3_600_000, spans["30d"].to_ms, 3_600_000)
    answer = _ask(seeded, FLEET, "held-by-cluster", window)
    want = {
        (row.period_start, TITLE[row.cluster]): float(row.held_seconds / row.gpu_seconds)
        for row in seed_fleet.fleet_hours(ledger)
        if row.period_start.timestamp() >= window.from_s
    }
    assert {(row["time"].replace(tzinfo=UTC), row["series"]): row["value"] for row in answer} == pytest.approx(want)


@pytest.mark.parametrize("span", ["1h", "30d"])
def test_table_of_clusters(seeded: ClickHouse, span: str) -> None:
    """Each cluster as the figures show it when it alone is chosen; money for idle devices of settled hours."""
    ledger, spans = _ledger(seeded)
    answer = {row["cluster"]: row for row in _ask(seeded, FLEET, "clusters", spans[span])}
    assert set(answer) == set(TITLE)
    since = datetime.fromtimestamp(spans[span].from_s, UTC)
    for cluster, row in answer.items():
        want = expected_fleet.fleet(ledger, spans[span], Choice(cluster=(cluster,)))
        names = {"devices": "devices", "held": "held-share", "busy": "busy-share", "power_kw": "power"}
        assert _agree({name: row[name] for name in names}, {name: want[figure] for name, figure in names.items()})
        idle = [
            hour.idle_held_cost
            for hour in seed_fleet.fleet_hours(ledger)
            if hour.cluster == cluster and hour.period_start >= since and hour.currency == "CAD"
        ]
        assert row["idle_cost"] == (sum(idle) if idle else None)
        minute = ledger.now.replace(second=0)
        minutes = [
            line
            for line in ledger.unit_costs
            if line.cluster == cluster and line.currency == "CAD" and minute - 5 * MINUTE <= line.minute
            if line.minute < (ledger.now - timedelta(seconds=15)).replace(second=0)
        ]
        per_hour = Fraction(sum(line.cost for line in minutes)) * 60 / len({line.minute for line in minutes} or {0})
        assert row["per_hour"] == (pytest.approx(float(per_hour)) if minutes else None)
        assert row["pue"] == seed_fleet.PUE[cluster]
    assert answer["fir"]["g_per_kwh"] == Decimal("24.1")
    assert answer["isambard"]["g_per_kwh"] is None


def test_devices_with_defects(seeded: ClickHouse) -> None:
    """Of the last day; a defect that was recorded twice counts once."""
    _, spans = _ledger(seeded)
    answer = _ask(seeded, FLEET, "device-defects", spans["30d"])
    assert [(row["subject"], row["kind"], row["times"]) for row in answer] == [
        ("GPU-77aa", "counter_reset", 2), ("GPU-9f3c", "unmetered_gap", 1),
    ]  # fmt: skip
    assert all(row["meaning"] in OF_DEVICES for row in answer)


# ---- metering health -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clusters", [(), ("fir",), ("fabric", "narval")], ids=["all", "one", "many"])
@pytest.mark.parametrize("span", ["1h", "30d", "1y", "past hours", "empty"])
def test_health_figures_against_python(seeded: ClickHouse, span: str, clusters: tuple[str, ...]) -> None:
    """The figures of metering health, now and in the past; what is recorded twice counts once."""
    ledger, spans = _ledger(seeded)
    want = expected_fleet.health(ledger, spans[span], clusters)
    strip = [panel.name for panel in HEALTH.panels if panel.kind is Kind.STAT]
    assert strip == [
        "lag", "quarantined", "defect-count", "open-alert-count", "late-rows", "unsettled", "observed", "newest",
    ]  # fmt: skip
    got = _figures(seeded, HEALTH, list(want), spans[span], Choice(cluster=clusters))
    assert _agree(got, want), (got, want)


def test_open_alerts_are_counted_as_listed(seeded: ClickHouse) -> None:
    """The figure is the number of rows of the table, with the critical ones beside it."""
    _, spans = _ledger(seeded)
    for choice in (Choice(), Choice(cluster=("fir",)), Choice(cluster=("narval",))):
        listed = _ask(seeded, HEALTH, "open-alerts", spans["1h"], choice)
        (figure,) = _ask(seeded, HEALTH, "open-alert-count", spans["1h"], choice)
        assert figure["value"] == len(listed)
        critical = sum(row["level"] == "critical" for row in listed)
        assert figure["note"] == (f"{critical} critical" if critical else "")


def test_coverage_by_cluster(seeded: ClickHouse) -> None:
    """The last hour was measured whole; of the hours of a month two minutes each, and what is missing is said."""
    ledger, spans = _ledger(seeded)
    for row in _ask(seeded, HEALTH, "coverage-by-cluster", spans["1h"]):
        assert row["observed"] == pytest.approx(1.0)
        assert row["missing_hours"] == pytest.approx(0.0, abs=1e-6)
    hours = sorted({row.period_start for row in ledger.settled if row.period_start.timestamp() >= spans["30d"].from_s})
    for row in _ask(seeded, HEALTH, "coverage-by-cluster", spans["30d"]):
        seen = sum(
            line.gpu_seconds for line in ledger.settled if line.cluster == row["cluster"] and line.period_start in hours
        )
        due = len(hours) * devices(row["cluster"]) * 3600
        assert row["observed"] == pytest.approx(float(seen / due))
        assert row["missing_hours"] == pytest.approx(float((due - seen) / 3600))
        assert row["age_s"] >= 0
    points = _ask(seeded, HEALTH, "coverage-over-time", spans["30d"])
    assert {row["series"] for row in points} == set(TITLE.values())
    assert all(0 < row["value"] <= 1 for row in points)


def test_arrival_delay(seeded: ClickHouse) -> None:
    """What 99 of 100 messages of a cluster stay below, and half of all; a clock that is ahead shows below zero."""
    ledger, spans = _ledger(seeded)
    window = Window(spans["1h"].from_ms, spans["1h"].to_ms, 600_000)
    answer = _ask(seeded, HEALTH, "arrival-delay", window)
    assert {row["series"] for row in answer} == {"half of all", *(f"{name} · 99 of 100" for name in TITLE.values())}
    at = sorted({row["time"] for row in answer})[2]
    of = {row["series"]: row["value"] for row in answer if row["time"] == at}
    begin = at.replace(tzinfo=UTC)
    found = [
        message
        for message in seed_fleet.messages(ledger.now)
        if begin <= message.stored_at < begin + 10 * MINUTE
        and message.fate == "metered"
        and message.delay_s is not None
    ]
    for cluster, title in TITLE.items():
        delays = sorted(m.delay_s for m in found if m.shard.startswith(f"{cluster}/") and m.delay_s is not None)
        assert of[f"{title} · 99 of 100"] == pytest.approx(delays[int(0.99 * len(delays))])
    assert of["half of all"] == pytest.approx(sorted(m.delay_s or 0 for m in found)[len(found) // 2])
    assert of["Isambard-AI · 99 of 100"] < 0


def test_messages_per_minute(seeded: ClickHouse) -> None:
    """Six a minute of each cluster, over whole intervals only."""
    _, spans = _ledger(seeded)
    window = Window(spans["1h"].from_ms, spans["1h"].to_ms, 300_000)
    answer = _ask(seeded, HEALTH, "messages", window)
    assert {row["series"] for row in answer} == set(TITLE.values())
    assert {row["value"] for row in answer if row["series"] == "AI Fabric"} <= {5.8, 6.0, 6.2}
    assert all(row["time"].replace(tzinfo=UTC).timestamp() + 300 <= window.to_s for row in answer)


def test_quarantine_by_reason(seeded: ClickHouse) -> None:
    """What waits is on top; what was replayed is counted apart; a sender who does not say who it is has no cluster."""
    _, spans = _ledger(seeded)
    answer = _ask(seeded, HEALTH, "quarantine", spans["1h"])
    assert [(row["topic"], row["cluster_title"], row["waiting"], row["replayed"]) for row in answer] == [
        ("telemetry.gpu", "Narval", 1, 1), ("telemetry.tokens", "", 1, 0),
    ]  # fmt: skip


def test_defects_over_time_and_the_newest(seeded: ClickHouse) -> None:
    """The points add up to the figure; the table explains each kind that it knows, and shows one that it does not."""
    ledger, spans = _ledger(seeded)
    points = _ask(seeded, HEALTH, "defects", spans["30d"])
    assert sum(row["value"] for row in points) == expected_fleet.health(ledger, spans["30d"], ())["defect-count"]
    newest = _ask(seeded, HEALTH, "newest-defects", spans["30d"])
    assert newest[0]["kind"] == "counter_reset"
    assert {row["kind"] for row in newest} - set(KINDS) == {"never_heard_of"}
    assert {"target_up", "target_down", "sequence_gap"} < {row["kind"] for row in newest}


@pytest.mark.parametrize("lang", LANGS)
def test_alerts_by_rule(seeded: ClickHouse, lang: Lang) -> None:
    """An alert counts once, when it began, under the title of its rule."""
    _, spans = _ledger(seeded)
    answer = _ask(seeded, HEALTH, "alerts-by-rule", spans["30d"], lang=lang)
    rules = ("budget_90", "allocated_idle", "cost_per_mtok", "quarantine", "cluster_silent", "burn_slow")
    assert Counter({row["series"]: 0 for row in answer}) == Counter({BY_ID[rule].title.of(lang): 0 for rule in rules})
    assert sum(row["value"] for row in answer) == len(rules)


def test_settlements_as_they_stand(seeded: ClickHouse) -> None:
    """Each hour counts once, by its newest revision."""
    ledger, spans = _ledger(seeded)
    answer = {row["status"]: row for row in _ask(seeded, HEALTH, "settlements", spans["30d"])}
    hours = {row.period_start for row in ledger.settled if row.period_start.timestamp() >= spans["30d"].from_s}
    final = {hour for hour in hours if hour < ledger.now - 2 * DAY}
    assert (answer["final"]["hours"], answer["provisional"]["hours"]) == (len(final), len(hours - final))
    assert answer["provisional"]["last_hour"].replace(tzinfo=UTC) == ledger.settled_until - HOUR
    assert {row["newest_revision"] for row in answer.values()} == {2}
