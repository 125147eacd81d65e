"""Budgets and burn rates of agreements, and the conditions that follow from them. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction

from schemas.alert_rules import BY_ID
from schemas.config_alerts import Alerts
from schemas.economics import Burn
from schemas.texts import Text
from streams.alert_conditions import Condition, Stake, money, number

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BUDGET = (1.0, 0.9, 0.8, 0.5)
_LAST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1000  # later is not a date


class Budgets:
    """The newest state of every agreement, and what follows from it: found out when it comes, not when it is asked."""

    def __init__(self, settings: Alerts) -> None:
        self._settings = settings
        self._burn: dict[str, Burn] = {}
        self._used: dict[str, list[Condition]] = {}
        self._rates: dict[str, list[tuple[int, Condition]]] = {}
        """Conditions of the burn rate, each until a moment."""

    def saw(self, burn: Burn) -> None:
        """The newest state of an agreement; one that is older than what is known changes nothing."""
        known = self._burn.get(burn.agreement)
        if known is None or burn.ts_ms >= known.ts_ms:
            self._burn[burn.agreement] = burn
            self._used[burn.agreement] = list(_budgets(burn, burn.cap_nano)) if burn.cap_nano else []
            self._rates[burn.agreement] = list(self._burn_rates(burn))

    def conditions(self, now_ms: int) -> Iterator[Condition]:
        """Everything that holds at this moment."""
        for several in self._used.values():
            yield from several
        for until in self._rates.values():
            for until_ms, condition in until:
                if now_ms < until_ms:
                    yield condition

    def _burn_rates(self, burn: Burn) -> Iterator[tuple[int, Condition]]:
        """Money that goes faster than it lasts, over a long window and still over a short one.

        A state says nothing about windows that have passed since: of an agreement that uses nothing more, none comes.
        """
        hour, days, hours = burn.rate_1h_nano_per_hour, burn.rate_3d_nano_per_hour, burn.rate_6h_nano_per_hour
        if hour is not None:
            when = Text("the last hour and still now", "la dernière heure et encore maintenant")
            lower = min(hour, burn.rate_nano_per_hour)
            for condition in _too_fast("burn_fast", burn, lower, self._settings.burn_fast, when):
                yield burn.ts_ms + 5 * MINUTE_MS, condition
        if days is not None and hours is not None:
            when = Text("the last 3 days and the last 6 hours", "les 3 derniers jours et les 6 dernières heures")
            for condition in _too_fast("burn_slow", burn, min(days, hours), self._settings.burn_slow, when):
                yield burn.ts_ms + 6 * HOUR_MS, condition


def _budgets(burn: Burn, cap_nano: int) -> Iterator[Condition]:
    used = burn.spent_nano / cap_nano
    for threshold in BUDGET:
        rule = f"budget_{threshold * 100:.0f}"
        if used < threshold * BY_ID[rule].clears_at:
            continue
        yield Condition(
            rule, burn.agreement, used, threshold,
            lambda: Text(
                f"{burn.agreement} has used {number(100 * used, 'en', 1)}% of its cap of "
                f"{money(cap_nano, burn.currency, 'en')}{_runway(burn).en}",
                f"{burn.agreement} a utilisé {number(100 * used, 'fr', 1)} % de son plafond de "
                f"{money(cap_nano, burn.currency, 'fr')}{_runway(burn).fr}",
            ),
            used >= threshold, agreement=burn.agreement, at_stake=Stake(burn.rate_nano_per_hour, burn.currency),
        )  # fmt: skip


def _runway(burn: Burn) -> Text:
    hours = burn.runway_hours
    if hours is None:
        return Text("", "")
    return Text(
        f"; at the current rate the rest lasts {number(hours, 'en', 1)} h",
        f" ; au rythme actuel, le reste dure {number(hours, 'fr', 1)} h",
    )


def _too_fast(rule: str, burn: Burn, rate_nano_per_hour: int, times: Fraction, when: Text) -> Iterator[Condition]:
    """The condition, where a rate is so many times the one at which the money lasts; none where there is no such rate,
    or the money is used up (`budget_100` says that)."""
    lasting, cap_nano = burn.sustainable_nano_per_hour, burn.cap_nano
    if not lasting or cap_nano is None or rate_nano_per_hour < float(times) * BY_ID[rule].clears_at * lasting:
        return
    found = rate_nano_per_hour / lasting

    def words() -> Text:
        left_nano = cap_nano - burn.spent_nano
        gone_ms = min(burn.ts_ms + left_nano * HOUR_MS // max(1, rate_nano_per_hour), _LAST_MS)
        gone = datetime.fromtimestamp(gone_ms // 1000, UTC)
        return Text(
            f"{burn.agreement} burns {number(found, 'en', 1)} times as fast as its money lasts until its end: over "
            f"{when.en} at least {money(rate_nano_per_hour, burn.currency, 'en')} per hour; at this rate "
            f"the remaining {money(left_nano, burn.currency, 'en')} are gone on {gone:%Y-%m-%d at %H:%M} UTC",
            f"{burn.agreement} dépense {number(found, 'fr', 1)} fois trop vite pour que l’argent dure jusqu’à la fin : "
            f"pendant {when.fr}, au moins {money(rate_nano_per_hour, burn.currency, 'fr')} par heure ; à "
            f"ce rythme, les {money(left_nano, burn.currency, 'fr')} restants sont épuisés le {gone:%Y-%m-%d} à "
            f"{gone:%H:%M} UTC",
        )

    yield Condition(
        rule, burn.agreement, found, float(times), words, rate_nano_per_hour >= times * lasting,
        agreement=burn.agreement, at_stake=Stake(rate_nano_per_hour, burn.currency),
    )  # fmt: skip
