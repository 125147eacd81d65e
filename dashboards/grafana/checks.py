"""What Grafana asks the book to check the rules of schemas.alert_rules once more, apart from the stream.

The stream sees a matter within a second; a check asks for it in SQL, minutes later, and so also tells when the stream
itself is wrong or gone. Every check yields text columns, which become labels of the alert, and one number, `value`.
Alert rules know neither variables nor frontend macros: a check has only those of the plugin's backend.

Not checked here are matters that the ledger does not keep: temperature, XID errors and the power of a moment.
"""

import re
from dataclasses import dataclass
from typing import Literal

from dashboards.boards.common import METERING_HEALTH, NEWEST_BY_CLUSTER, coverage
from dashboards.grafana.sources import FINANCE, OPERATIONS, Source
from dashboards.macros import quote
from schemas.alert_rules import BY_ID, AlertRule
from schemas.config_alerts import Alerts
from schemas.texts import Text

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400
LEAST_TOKENS = 10_000
"""Below this many tokens a cost, or an energy, per token is noise."""
SAME_POWER = 0.8
"""Power stays: at least this part of what it was."""

Comparison = Literal["gt", "gte", "lt"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the book, and from which answer on it is an alert."""

    rule: AlertRule
    source: Source
    window_s: int
    """Time range of the question."""
    sql: str
    comparison: Comparison
    """How the value stands to the threshold when something is wrong."""
    threshold: float
    what: Text
    """What happened, as a Grafana template."""
    labels: tuple[str, ...] = ()
    """The text columns of the answer: what tells its alerts apart."""
    every_s: int = MINUTE_S
    no_data: Literal["OK", "Alerting"] = "OK"
    """What it means that nothing is there."""


HEARTBEAT = AlertRule(
    "heartbeat",
    Text("Nothing reaches the book", "Rien n’arrive au livre"),
    "critical",
    Text(
        "No message of any cluster was stored. The worker, Kafka or every collector stands still, and with them all "
        "streamed alerts: see whether the worker runs, then its lag and its log.",
        "Aucun message d’aucune grappe n’a été enregistré. Le travailleur, Kafka ou tous les collecteurs sont à "
        "l’arrêt, et avec eux toutes les alertes du flux : voyez si le travailleur tourne, puis son retard et son "
        "journal.",
    ),
    METERING_HEALTH,
    "freshness",
    setting="silent_after",
    for_s=60.0,
)
"""Watches the stream itself, so Grafana alone has it."""

_SHARE = Text(
    "{{ humanizePercentage $values.A.Value }}",
    '{{ reReplaceAll "%" " %" (reReplaceAll "[.]" "," (humanizePercentage $values.A.Value)) }}',
)
_SECONDS = Text("{{ humanizeDuration $values.A.Value }}", "{{ humanizeDuration $values.A.Value }}")
_COUNT = Text('{{ printf "%.0f" $values.A.Value }}', '{{ printf "%.0f" $values.A.Value }}')
_NUMBER = Text('{{ printf "%.4g" $values.A.Value }}', '{{ reReplaceAll "[.]" "," (printf "%.4g" $values.A.Value) }}')


def _says(value: Text, en: str, fr: str) -> Text:
    """A sentence in which `#` is the value and `@name` a label."""

    def filled(text: str, number: str) -> str:
        return re.sub(r"@(\w+)", r"{{ $labels.\1 }}", text).replace("#", number)

    return Text(filled(en, value.en), filled(fr, value.fr))


def threshold(rule: AlertRule, settings: Alerts) -> float:
    """The rule's threshold: its setting, the part of the cap that a budget rule is named for, else 0."""
    if rule.setting is not None:
        return float(getattr(settings, rule.setting))
    return int(rule.id.removeprefix("budget_")) / 100 if rule.id.startswith("budget_") else 0.0


def checks(settings: Alerts) -> tuple[Check, ...]:
    """Every check, in the order of the rules; thresholds are those of section `[alerts]`."""
    found = [*_budgets(), *_burn_rates(settings), *_units(settings), *_devices(settings), *_metering(settings),
             *_audits()]  # fmt: skip
    order = [*BY_ID, HEARTBEAT.id]
    return tuple(sorted(found, key=lambda check: order.index(check.rule.id)))


# ---- money -----------------------------------------------------------------------------------------------------------

_IN_FORCE = "starts <= toDate($__toTime) AND ends >= toDate($__toTime)"


def _budgets() -> list[Check]:
    return [
        Check(
            rule,
            FINANCE,
            HOUR_S,
            f"""SELECT programme, agreement, recipient, ifNull(used_share, 0) AS value
FROM agreement_state(at = $__toTime)
WHERE used_share IS NOT NULL AND {_IN_FORCE}
ORDER BY agreement""",
            "gte",
            threshold(rule, Alerts()),
            _says(
                _SHARE,
                "@recipient (@agreement) has used # of its cap",
                "@recipient (@agreement) a utilisé # de son plafond",
            ),
            labels=("programme", "agreement", "recipient"),
            every_s=5 * MINUTE_S,
        )
        for rule in BY_ID.values()
        if rule.id.startswith("budget_")
    ]


def _burn_rates(settings: Alerts) -> list[Check]:
    windows = (
        ("burn_fast", "rate_1h_per_hour", "rate_per_hour", MINUTE_S, "the last hour and still now",
         "depuis une heure et encore maintenant"),
        ("burn_slow", "rate_3d_per_hour", "rate_6h_per_hour", 5 * MINUTE_S, "the last 3 days and the last 6 hours",
         "depuis 3 jours et encore depuis 6 heures"),
    )  # fmt: skip
    return [
        Check(
            BY_ID[name],
            FINANCE,
            HOUR_S,
            f"""WITH toFloat64(least(assumeNotNull({long}), assumeNotNull({short}))) AS rate
SELECT programme, agreement, recipient, rate / toFloat64(assumeNotNull(sustainable_per_hour)) AS value
FROM agreement_state(at = $__toTime)
WHERE {long} IS NOT NULL AND {short} IS NOT NULL AND sustainable_per_hour > 0 AND (cap IS NULL OR spent < cap)
    AND {_IN_FORCE}
ORDER BY agreement""",
            "gt",
            threshold(BY_ID[name], settings),
            _says(
                _NUMBER,
                f"The money of @recipient (@agreement) burns # times as fast as would make it last, over {en}",
                f"L’argent de @recipient (@agreement) part # fois plus vite que s’il devait durer, {fr}",
            ),
            labels=("programme", "agreement", "recipient"),
            every_s=every_s,
        )
        for name, long, short, every_s, en, fr in windows
    ]


# ---- tokens and energy -----------------------------------------------------------------------------------------------

_TOKENS = "(prompt_tokens + generation_tokens)"
_OF_MODELS = "FROM unit_costs\nWHERE $__timeFilter(minute) AND model != ''\nGROUP BY cluster, model"


def _units(settings: Alerts) -> list[Check]:
    labels = ("cluster", "model")
    of_model = Text("@model on @cluster", "@model sur @cluster")
    return [
        Check(
            BY_ID["cost_per_mtok"],
            FINANCE,
            15 * MINUTE_S,
            f"""SELECT cluster, model, toFloat64(sum(cost)) * 1e6 / sum({_TOKENS}) AS value
FROM unit_costs
WHERE $__timeFilter(minute) AND model != '' AND currency = 'CAD'
GROUP BY cluster, model
HAVING sum({_TOKENS}) >= {LEAST_TOKENS}""",
            "gt",
            threshold(BY_ID["cost_per_mtok"], settings),
            _says(
                _NUMBER,
                f"A million tokens of {of_model.en} cost # CAD",
                f"Un million de jetons de {of_model.fr} coûte # CAD",
            ),
            labels,
        ),
        Check(
            BY_ID["tokens_dropped"],
            OPERATIONS,
            HOUR_S,
            f"""SELECT cluster, model, tokens_now / tokens_then AS value
FROM (
    WITH minute > $__toTime - INTERVAL 5 MINUTE AS is_now, minute < $__toTime - INTERVAL 30 MINUTE AS is_then
    SELECT cluster, model,
        sumIf({_TOKENS}, is_now) / uniqExactIf(minute, is_now) AS tokens_now,
        sumIf({_TOKENS}, is_then) / uniqExactIf(minute, is_then) AS tokens_then,
        toFloat64(sumIf(energy_j, is_now)) / uniqExactIf(minute, is_now) AS energy_now,
        toFloat64(sumIf(energy_j, is_then)) / uniqExactIf(minute, is_then) AS energy_then
    {_OF_MODELS}
)
WHERE tokens_then >= {LEAST_TOKENS} AND energy_now >= {SAME_POWER} * energy_then""",
            "lt",
            threshold(BY_ID["tokens_dropped"], settings),
            _says(
                _SHARE,
                f"{of_model.en} yields # of its tokens of half an hour ago, at the same power",
                f"{of_model.fr} produit # de ses jetons d’il y a une demi-heure, à la même puissance",
            ),
            labels,
        ),
        Check(
            BY_ID["tokens_without_energy"],
            OPERATIONS,
            15 * MINUTE_S,
            f"""SELECT cluster, model, toFloat64(sum(energy_j)) / sum({_TOKENS}) AS value
{_OF_MODELS}
HAVING sum({_TOKENS}) >= {LEAST_TOKENS}""",
            "lt",
            threshold(BY_ID["tokens_without_energy"], settings),
            _says(
                _NUMBER,
                f"A token of {of_model.en} is said to take # J, less than any device needs",
                f"Un jeton de {of_model.fr} n’aurait pris que # J : trop peu pour tout appareil",
            ),
            labels,
        ),
        Check(
            BY_ID["energy_without_tokens"],
            OPERATIONS,
            HOUR_S,
            f"""SELECT cluster, model,
    if(sum({_TOKENS}) = 0, toFloat64(sum(busy_seconds)) / toFloat64(sum(gpu_seconds)), 0) AS value
{_OF_MODELS}
HAVING sum(gpu_seconds) > 0""",
            "gt",
            threshold(BY_ID["energy_without_tokens"], settings),
            _says(
                _SHARE,
                f"Devices of {of_model.en} are # busy and no token is counted",
                f"Les appareils de {of_model.fr} sont occupés à # et aucun jeton n’est compté",
            ),
            labels,
        ),
    ]


# ---- devices ---------------------------------------------------------------------------------------------------------


def _since(moved: str) -> str:
    """SQL over the ledger rows of a device: seconds at their end since the newest row for which `moved` holds."""
    return f"dateDiff('second', greatest(min(ts_start), maxIf(ts_end, {moved})), max(ts_end))"


def _devices(settings: Alerts) -> list[Check]:
    idle, frozen = BY_ID["allocated_idle"], BY_ID["counter_frozen"]
    idle_for_s, frozen_for_s = threshold(idle, settings), threshold(frozen, settings)
    worked = (
        "workload = '' OR busy_known_seconds = 0 "
        f"OR busy_seconds >= busy_known_seconds * {float(settings.idle_below):g}"
    )
    return [
        Check(
            idle,
            OPERATIONS,
            2 * round(idle_for_s),
            f"""SELECT cluster, holder, toFloat64(max(idle_s)) AS value
FROM (
    SELECT cluster, argMax(if(agreement = '', node, agreement), ts_end) AS holder, {_since(worked)} AS idle_s
    FROM gpu_usage
    WHERE $__timeFilter(ts_start)
    GROUP BY cluster, device, slice
)
WHERE idle_s > 0
GROUP BY cluster, holder""",
            "gte",
            idle_for_s,
            _says(
                _SECONDS,
                "@holder has held devices on @cluster idle for # or more",
                "@holder réserve sur @cluster des appareils inactifs depuis # ou plus",
            ),
            ("cluster", "holder"),
            every_s=5 * MINUTE_S,
        ),
        Check(
            frozen,
            OPERATIONS,
            2 * round(frozen_for_s),
            f"""SELECT cluster, node, toFloat64(max(still_s)) AS value
FROM (
    SELECT cluster, node, {_since("energy_j > 0")} AS still_s
    FROM gpu_usage
    WHERE $__timeFilter(ts_start) AND method = 'counter'
    GROUP BY cluster, node, device
)
WHERE still_s > 0
GROUP BY cluster, node""",
            "gte",
            frozen_for_s,
            _says(
                _SECONDS,
                "An energy counter on @node of @cluster has stood still for # or more",
                "Un compteur d’énergie de @node sur @cluster n’avance plus depuis # ou plus",
            ),
            ("cluster", "node"),
            every_s=5 * MINUTE_S,
        ),
    ]


# ---- metering --------------------------------------------------------------------------------------------------------

_COLLECTOR = "splitByChar('/', toString(shard))[1] AS cluster, splitByChar('/', toString(shard))[2] AS collector"
_BY_COLLECTOR = (
    "FROM telemetry_messages_store\nWHERE $__timeFilter(stored_at) AND ts_last IS NOT NULL\nGROUP BY cluster, collector"
)


def _delay_s(first: str, last: str) -> str:
    return f"dateDiff('millisecond', {first}, {last}) / 1000"


def _metering(settings: Alerts) -> list[Check]:
    def at(rule: str) -> float:
        return threshold(BY_ID[rule], settings)

    return [
        Check(
            BY_ID["exporter_silent"],
            OPERATIONS,
            DAY_S,
            """SELECT cluster, toFloat64(countIf(state = 'target_down')) AS value
FROM (
    SELECT cluster, source, argMax(kind, ts) AS state FROM data_quality
    WHERE $__timeFilter(ts) AND kind IN ('target_down', 'target_up')
    GROUP BY cluster, source
)
GROUP BY cluster""",
            "gt",
            at("exporter_silent"),
            _says(
                _COUNT,
                "Exporters of @cluster that do not answer: #",
                "Exportateurs de @cluster qui ne répondent pas : #",
            ),
            ("cluster",),
        ),
        Check(
            BY_ID["collector_silent"],
            OPERATIONS,
            6 * HOUR_S,
            f"""SELECT {_COLLECTOR},
    toFloat64({_delay_s("max(stored_at)", "now64(3)")}) AS value
FROM telemetry_messages_store
WHERE stored_at >= $__fromTime
GROUP BY cluster, collector""",
            "gt",
            at("collector_silent"),
            _says(
                _SECONDS,
                "Nothing of collector @collector of @cluster has been stored for #",
                "Rien du collecteur @collector de @cluster n’a été enregistré depuis #",
            ),
            ("cluster", "collector"),
        ),
        Check(
            BY_ID["cluster_silent"],
            OPERATIONS,
            HOUR_S,
            f"""SELECT toString(cluster) AS cluster, toFloat64({_delay_s("reached", "now64(3)")}) AS value
FROM ({NEWEST_BY_CLUSTER}
)""",
            "gt",
            at("cluster_silent"),
            _says(_SECONDS, "No usage of @cluster for #", "Aucun usage de @cluster depuis #"),
            ("cluster",),
        ),
        Check(
            BY_ID["clock_skew"],
            OPERATIONS,
            5 * MINUTE_S,
            f"SELECT {_COLLECTOR}, toFloat64(max({_delay_s('stored_at', 'assumeNotNull(ts_last)')})) AS value\n"
            f"{_BY_COLLECTOR}",
            "gt",
            at("clock_skew"),
            _says(
                _SECONDS,
                "The clock of collector @collector of @cluster is # ahead",
                "L’horloge du collecteur @collector de @cluster avance de #",
            ),
            ("cluster", "collector"),
        ),
        Check(
            BY_ID["lag"],
            OPERATIONS,
            5 * MINUTE_S,
            f"SELECT {_COLLECTOR},\n"
            f"    toFloat64(quantileExact(0.5)({_delay_s('assumeNotNull(ts_last)', 'stored_at')})) AS value\n"
            f"{_BY_COLLECTOR}",
            "gt",
            at("lag"),
            _says(
                _SECONDS,
                "Samples of collector @collector of @cluster are # old when they are stored",
                "Les échantillons du collecteur @collector de @cluster ont # de retard à leur enregistrement",
            ),
            ("cluster", "collector"),
        ),
        Check(
            BY_ID["quarantine"],
            OPERATIONS,
            7 * DAY_S,
            """SELECT topic, toFloat64(count()) AS value
FROM quarantine
WHERE $__timeFilter(ts) AND replayed_at IS NULL
GROUP BY topic""",
            "gt",
            at("quarantine"),
            _says(
                _COUNT,
                "Messages of @topic that wait in quarantine: #",
                "Messages de @topic qui attendent en quarantaine : #",
            ),
            ("topic",),
        ),
        Check(
            BY_ID["coverage"],
            OPERATIONS,
            HOUR_S,
            f"{coverage()}SELECT toString(cluster) AS cluster, least(sum(seen) / sum(due), 1) AS value\n"
            "FROM coverage\nGROUP BY cluster\nHAVING sum(due) > 0",
            "lt",
            at("coverage"),
            _says(
                _SHARE,
                "Only # of the device time of @cluster in the last hour was measured",
                "Seulement # du temps d’appareil de @cluster a été mesuré depuis une heure",
            ),
            ("cluster",),
            every_s=5 * MINUTE_S,
        ),
        Check(
            HEARTBEAT,
            OPERATIONS,
            15 * MINUTE_S,
            f"""SELECT toFloat64({_delay_s("max(stored_at)", "now64(3)")}) AS value
FROM telemetry_messages_store
WHERE stored_at >= $__fromTime
HAVING count() > 0""",
            "gt",
            threshold(HEARTBEAT, settings),
            _says(_SECONDS, "Nothing has been stored for #", "Rien n’a été enregistré depuis #"),
            no_data="Alerting",
        ),
    ]


# ---- audits: what the stream, or `commonwatt check`, found ---------------------------------------------------------


def _audits() -> list[Check]:
    said = {
        "tally_differs": Text("Tally and book of @subject differ", "Le décompte et le livre de @subject diffèrent"),
        "check_failed": Text("The audit @subject fails", "La vérification @subject échoue"),
    }
    return [
        Check(
            BY_ID[name],
            OPERATIONS,
            30 * DAY_S,
            f"""SELECT subject, toFloat64(argMax(state, (ts, state)) = 'firing') AS value
FROM alerts FINAL
WHERE ts >= $__fromTime AND rule = {quote(name)}
GROUP BY fingerprint, subject""",
            "gt",
            threshold(BY_ID[name], Alerts()),
            _says(_COUNT, what.en, what.fr),
            ("subject",),
        )
        for name, what in said.items()
    ]
