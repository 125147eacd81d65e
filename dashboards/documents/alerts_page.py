"""docs/alerts.md: every alert rule: what, when, how bad, its threshold, for how long, what to do."""

from dashboards.boards import BY_UID
from dashboards.documents.markdown import GENERATED, link, table
from dashboards.grafana.checks import HEARTBEAT, Check, checks
from dashboards.grafana.rules import LAG_S
from dashboards.units import SECONDS, figure
from schemas.alert_rules import RULES, AlertRule
from schemas.config_alerts import Alerts

# When the stream says so; {…} are settings. The checks of Grafana are in dashboards.grafana.checks.
_WHEN = {
    "budget_50": "An agreement has spent half of its cap.",
    "budget_80": "An agreement has spent 80 % of its cap.",
    "budget_90": "An agreement has spent 90 % of its cap.",
    "budget_100": "An agreement has spent its cap.",
    "burn_fast": "Over the last hour, and still over the last 5 minutes, money goes more than {burn_fast} times as "
    "fast as it would last exactly until the end of the agreement.",
    "burn_slow": "The same for more than {burn_slow} times, over the last 3 days and the last 6 hours.",
    "cost_per_mtok": "A million tokens of a model on a cluster cost more than {cost_per_mtok_high} CAD, over 5 "
    "minutes.",
    "tokens_dropped": "A model on a cluster yields less than {tokens_drop_to} of its tokens of the hour before, over 5 "
    "minutes, and its devices draw at least 80 % of the power.",
    "tokens_without_energy": "GPU energy per token of a model on a cluster is below {energy_per_token_least_j} J, over "
    "5 minutes.",
    "energy_without_tokens": "Devices of a model are busy for more than {busy_without_tokens} of the time over 5 "
    "minutes, and no token of it is counted within the hour.",
    "allocated_idle": "A workload has held devices for {idle_for} that were busy for less than {idle_below} of the "
    "time.",
    "over_temperature": "Devices of a node are hotter than {hot_above_c} °C.",
    "xid": "Devices of a node report an XID error.",
    "power_cap": "GPU power of a cluster times its PUE is above `power_cap_kw` of the cluster, over a minute.",
    "exporter_silent": "Exporters of a cluster do not answer its collector.",
    "collector_silent": "Nothing of a collector came for {silent_after}, while others of its cluster are heard.",
    "cluster_silent": "Nothing of a cluster came for {silent_after}.",
    "counter_frozen": "The energy counter of a device stands still for {counter_frozen_for} while it draws power.",
    "clock_skew": "Samples of a collector are stamped more than {clock_skew_above} later than they arrive.",
    "lag": "Samples are older than {lag_above} when the worker takes them.",
    "quarantine": "A message that could not be read lies in quarantine and was not replayed.",
    "tally_differs": "What the worker counted for a minute is not what the book has.",
    "coverage": "Less than {coverage_below} of the time of a cluster's devices was metered, over 5 minutes.",
    "check_failed": "An audit of `commonwatt check` finds rows at fault.",
    HEARTBEAT.id: "No message of any cluster was stored for {silent_after}, or none at all within 15 minutes.",
}
_IN_SECONDS = {"idle_for", "silent_after", "counter_frozen_for", "clock_skew_above", "lag_above"}
_IN_SHARES = {"tokens_drop_to", "busy_without_tokens", "idle_below", "coverage_below"}


def alerts_page() -> str:
    """The page as Markdown."""
    asked = {check.rule.id: check for check in checks(Alerts())}
    every = (*RULES, HEARTBEAT)
    overview = table(
        ("rule", "what", "severity", "threshold", "fires"),
        [(link(r.id), f"{r.title.en}<br>{r.title.of('fr')}", r.severity, _threshold(r), _for(r)) for r in every],
    )
    sections = "\n".join(_section(rule, asked.get(rule.id)) for rule in every)
    return f"""# Alerts

{GENERATED}
Rules are defined once (`schemas/alert_rules.py`). The stream evaluates them on what the meters see, within about a
second of the fact; Grafana asks the book the same in SQL, minutes later, and so also notices when the stream itself is
wrong or gone. Thresholds are settings of section `[alerts]` of the configuration; those below are the defaults.

- **critical**: somebody has to act now; **warning**: within the day; **info**: to know.
- **fires**: at once, or after the condition has held for so long.
- An alert ends by itself when its condition does; nothing is closed by hand. Where *ends at* is given, the value must
  be back so far; where it *goes on*, a matter that comes and goes is one alert.
- While a rule named under *silent while* fires about a cluster, this one says nothing new about that cluster: it is the
  same matter, seen from below.

{overview}
{sections}"""


def _section(rule: AlertRule, check: Check | None) -> str:
    board = BY_UID[rule.dashboard]
    panel = next(panel for panel in board.panels if panel.name == rule.panel)
    facts = [f"**{rule.severity}**", f"threshold {_threshold(rule)}", f"fires {_for(rule)}"]
    if rule.clears_at != 1:
        facts.append(f"ends at {rule.clears_at:g} × the threshold")
    if rule.keep_s:
        facts.append(f"goes on for {_duration(rule.keep_s)} after it was last seen")
    if rule.hidden_by:
        facts.append(f"silent while {' or '.join(f'`{other}`' for other in rule.hidden_by)} fires")
    return f"""## {rule.id}

{rule.title.en}. *{rule.title.of("fr")}.*

{"; ".join(facts)}.

- **When.** {_when(rule.id)}
- **What to do.** {rule.advice.en}
- **What to look at.** {link(board.title.en, "dashboards.md")}, panel *{panel.title.en}*.
- **Grafana.** {_asked(check)}
"""


def _asked(check: Check | None) -> str:
    if check is None:
        return "Does not ask: the ledger does not keep it."
    alone = (
        " Grafana alone has this rule: the stream cannot tell that it has stopped." if check.rule is HEARTBEAT else ""
    )
    labels = ", ".join(f"`{name}`" for name in ("rule", "severity", *check.labels))
    return (
        f"Asks every {_duration(check.every_s)} about the {_duration(check.window_s)} until {_duration(LAG_S)} ago, "
        f"as *{check.source.name}*; labels {labels}.{alone}"
    )


def _when(rule: str) -> str:
    return _WHEN[rule].format_map({name: _setting(name) for name in Alerts.model_fields})


def _setting(name: str) -> str:
    value = float(getattr(Alerts(), name))
    if name in _IN_SECONDS:
        return _duration(value)
    return f"{value * 100:g} %" if name in _IN_SHARES else f"{value:g}"


def _threshold(rule: AlertRule) -> str:
    if rule.setting is not None:
        return f"`{rule.setting}` = {_setting(rule.setting)}"
    return f"{rule.id.removeprefix('budget_')} %" if rule.id.startswith("budget_") else "none"


def _for(rule: AlertRule) -> str:
    return f"after {_duration(rule.for_s)}" if rule.for_s else "at once"


def _duration(seconds: float) -> str:
    return str(figure(seconds, SECONDS, "en")).replace("\u00a0", " ")
