"""Runs every query of the dashboards and alert rules on a live Grafana, as Grafana runs them.

The plugin's backend macros are left to Grafana; what its pages replace before (variables, `$__conditionalAll`) is
replaced here, because `POST /api/ds/query` does not know it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compose.grafana import selection
from compose.grafana.connection import Grafana, GrafanaRefuses, Json
from dashboards.grafana.panels import TABLE, TIME_SERIES, query
from dashboards.grafana.sources import Source
from dashboards.macros import substitute, variables_in
from dashboards.model import MAX_POINTS, Dashboard, Kind
from schemas.config_alerts import Alerts
from schemas.texts import LANGS

MIN_INTERVAL_MS = 60_000  # the ledger's minutes


@dataclass(frozen=True, slots=True)
class Question:
    """One request to `/api/ds/query`, and what it is for."""

    place: str
    """Dashboard, or group of alert rules."""
    name: str
    queries: list[Json]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    place: str
    name: str
    rows: int = 0
    took_ms: float = 0.0
    failed: str = ""
    """Why; empty: it did not."""

    @property
    def state(self) -> str:
        return "failed" if self.failed else "ok" if self.rows else "empty"


def questions(
    now_ms: int, range_s: float, settings: Alerts, sources: Sequence[Source], instead: str | None = None
) -> Iterator[Question]:
    """Everything that dashboards and rules ask, over a range that ends now, as far as it belongs to these data sources.

    `instead`: uid of a data source to ask all of it; default: the one that each dashboard opens with, and each rule
    names.
    """
    for board, source in selection.boards(sources):
        yield from _of_dashboard(board, now_ms, range_s, instead or source.uid)
    for group, rules in selection.groups(settings, sources):
        for rule in rules:
            yield _of_rule(str(group["name"]), rule, now_ms, instead)


def _of_dashboard(board: Dashboard, now_ms: int, range_s: float, source: str) -> Iterator[Question]:
    from_ms = now_ms - round(range_s * 1000)
    asked = [
        (f"panel {panel.name}", panel.sql, TIME_SERIES if panel.kind is Kind.TIMESERIES else TABLE)
        for panel in board.panels
    ]
    asked += [(f"variable {variable.name}", variable.sql, TABLE) for variable in board.variables]
    asked += [(f"annotation {annotation.name}", annotation.sql, TABLE) for annotation in board.annotations]
    chosen = {variable.name: [variable.default] if variable.default else [] for variable in board.variables}
    interval_ms = max(MIN_INTERVAL_MS, (now_ms - from_ms) // MAX_POINTS)
    for name, sql, form in asked:
        for lang in LANGS if "lang" in variables_in(sql) else LANGS[:1]:
            text = substitute(sql, {**chosen, "lang": [lang]})
            body = query(text, form, source=source) | {"intervalMs": interval_ms, "maxDataPoints": MAX_POINTS}
            yield Question(board.uid, f"{name} ({lang})" if lang != "en" else name, [body], from_ms, now_ms)


def _of_rule(group: str, rule: Json, now_ms: int, source: str | None) -> Question:
    """A rule with its threshold: Grafana evaluates both, so what it cannot compare fails here too."""
    first = rule["data"][0]["relativeTimeRange"]
    bodies = [dict(part["model"]) for part in rule["data"]]
    if source is not None:
        bodies[0]["datasource"] = bodies[0]["datasource"] | {"uid": source}
    ends = (now_ms - first["from"] * 1000, now_ms - first["to"] * 1000)
    return Question(group, f"rule {rule['uid']}", bodies, *ends)


def ask(grafana: Grafana, question: Question) -> Result:
    """Put one question. Raises GrafanaRefuses when Grafana itself cannot be asked any more."""
    body = {"queries": question.queries, "from": str(question.from_ms), "to": str(question.to_ms)}
    what = f"{question.place}: {question.name}"
    began = time.monotonic()
    try:
        answers = grafana.ask(f"run {what}", lambda api: api.client.POST("/ds/query", json=body)).get("results", {})
    except GrafanaRefuses as refused:
        if not refused.said:
            raise
        return Result(question.place, question.name, failed=refused.said)
    took_ms = (time.monotonic() - began) * 1000
    wrong = [str(answer["error"]) for answer in answers.values() if answer.get("error")]
    missing = [one["refId"] for one in question.queries if one["refId"] not in answers]
    if missing:
        wrong.append(f"Grafana gave no answer to {', '.join(missing)}")
    if wrong:
        return Result(question.place, question.name, took_ms=took_ms, failed="; ".join(wrong))
    return Result(question.place, question.name, _rows(answers["A"]), took_ms)


def _rows(answer: Json) -> int:
    """Rows of the frames of an answer: the length of their longest column."""
    return sum(
        max((len(column) for column in frame.get("data", {}).get("values", [])), default=0)
        for frame in answer.get("frames", [])
    )


def _test(grafana: Grafana, uid: str) -> Json:
    return grafana.ask(f"test the data source {uid}", lambda api: api.datasource.health(uid))


def health(grafana: Grafana, uids: Sequence[str]) -> Iterator[Result]:
    """What Grafana's own test of each data source says."""
    for source_uid in uids:
        began = time.monotonic()
        try:
            said = _test(grafana, source_uid)
        except GrafanaRefuses as refused:
            if not refused.said:
                raise
            yield Result("data source", source_uid, failed=refused.said)
            continue
        took_ms = (time.monotonic() - began) * 1000
        if said.get("status") == "OK":
            yield Result("data source", source_uid, 1, took_ms)
        else:
            yield Result("data source", source_uid, took_ms=took_ms, failed=str(said.get("message") or said))
