"""What the last hour of each cluster amounts to, and the conditions that follow from it. Pure.

Minutes are states, as `unit_cost` publishes them: the newest replaces. What is judged are the last RECENT minutes that
are settled, which is when usage of the cluster reaches well beyond them. They are added up when one of them changes,
not when somebody asks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from schemas.config import Cluster, Config
from schemas.economics import UnitCosts
from schemas.money import NANO, round_half_even
from schemas.texts import Text
from streams.alert_conditions import Condition, Stake, beyond, number, patience_s, slowest_s

MINUTE_MS = 60_000
RECENT = 5
"""Minutes that are judged together: one minute of a quiet model says little."""
HOUR = 60
BASELINE_LEAST = 30
"""Minutes of the hour before that must be known, for a drop to be one."""
SAME_POWER = 0.8
"""Power stays when it is at least this part of what it was."""
LEAST_TOKENS = 10_000
"""Below this many tokens a rate says nothing."""
LEAST_GPU_S = 60.0
"""Below this much device time its busy share says nothing."""
CURRENCY = "CAD"
"""Of the target band, and of what clusters cost here."""

ToCad = Callable[[int, str, int], int | None]
"""An amount of a currency at a moment (ms) in CAD, all in nano-units; None when no rate is known."""


@dataclass(slots=True)
class Amounts:
    """Sums over some minutes."""

    gpu_ns: int = 0
    busy_ns: int = 0
    energy_mj: int = 0
    tokens: int = 0
    cost_nano: int | None = 0
    """CAD; None when an exchange rate is not known."""

    def add(self, other: "Amounts") -> None:
        """Add up."""
        self.gpu_ns += other.gpu_ns
        self.busy_ns += other.busy_ns
        self.energy_mj += other.energy_mj
        self.tokens += other.tokens
        unknown = self.cost_nano is None or other.cost_nano is None
        self.cost_nano = None if unknown else (self.cost_nano or 0) + (other.cost_nano or 0)


class CostRow(NamedTuple):
    """A minute of a (cluster, model, currency), as the book has it."""

    cluster: str
    minute_ms: int
    model: str
    currency: str
    gpu_ns: int
    busy_ns: int
    energy_mj: int
    tokens: int
    cost_nano: int


@dataclass(slots=True)
class _Minute:
    version: int
    total: Amounts = field(default_factory=Amounts)
    models: dict[str, Amounts] = field(default_factory=dict)

    def add(self, model: str, amounts: Amounts) -> None:
        self.total.add(amounts)
        if model:
            self.models.setdefault(model, Amounts()).add(amounts)


@dataclass(slots=True)
class _Window:
    """The last hour of a cluster."""

    settled_ms: int
    """A minute is settled when usage reaches so far beyond its end."""
    patience_ms: int
    """After so long without usage the cluster was silent."""
    minutes: dict[int, _Minute] = field(default_factory=dict)
    reached_ms: int = 0
    judged_from_ms: int = 0
    """Earlier minutes are not wholly known: the cluster was silent, or nobody was there to see."""
    last_settled_ms: int = 0
    """Start of the last minute that was settled when this was last added up."""
    provisional: bool = True
    """No minute was settled then."""
    changed: bool = True
    recent: Amounts = field(default_factory=Amounts)
    recent_minutes: int = 0
    conditions: list[Condition] = field(default_factory=list)

    def settled(self) -> int:
        """Start of the last minute that is settled, ms."""
        return (self.reached_ms - self.settled_ms) // MINUTE_MS * MINUTE_MS - MINUTE_MS


class Rates:
    """Cost and energy per token, token rates, power and coverage of every cluster."""

    def __init__(self, config: Config, to_cad: ToCad) -> None:
        self._settings = config.alerts
        self._clusters = {cluster.id: cluster for cluster in config.cluster}
        self._to_cad = to_cad
        self._windows: dict[str, _Window] = {}

    # ---- what was seen ---------------------------------------------------------------------------------------------

    def saw(self, costs: UnitCosts) -> None:
        """The newest state of a minute of a cluster; one that is older than what is known changes nothing."""
        window = self._window(costs.cluster)
        known = window.minutes.get(costs.minute_ms)
        if costs.minute_ms < window.reached_ms - (HOUR + RECENT) * MINUTE_MS:
            return  # of rows that came late: that minute is judged long since
        if known is not None and costs.version < known.version:
            return
        minute = _Minute(costs.version)
        for line in costs.lines:
            minute.add(
                line.model,
                Amounts(
                    line.gpu_ns, line.busy_ns, line.energy_mj, line.prompt_tokens + line.generation_tokens,
                    self._to_cad(line.cost_nano, line.currency, costs.minute_ms),
                ),
            )  # fmt: skip
        self._put(window, costs.minute_ms, minute)
        if costs.ts_end_ms > window.reached_ms:
            if costs.ts_start_ms > window.reached_ms + window.patience_ms:
                # Away until now: told by the rule for silent clusters. Its first minute back is but part of one.
                window.judged_from_ms = (costs.ts_start_ms // MINUTE_MS + 1) * MINUTE_MS
            window.reached_ms = costs.ts_end_ms
            if window.settled() != window.last_settled_ms:
                window.changed = True

    def begin(self, rows: Iterable[CostRow], reached_ms: dict[str, int]) -> None:
        """What the book has of the last hour, and how far it goes."""
        for row in rows:
            window = self._window(row.cluster)
            minute = window.minutes.setdefault(row.minute_ms, _Minute(0))
            cost_nano = self._to_cad(row.cost_nano, row.currency, row.minute_ms)
            minute.add(row.model, Amounts(row.gpu_ns, row.busy_ns, row.energy_mj, row.tokens, cost_nano))
        for cluster, window in self._windows.items():
            window.reached_ms = max(window.reached_ms, reached_ms.get(cluster, 0))
            window.judged_from_ms = min(window.minutes, default=0) + MINUTE_MS
            window.changed = True

    def _put(self, window: _Window, minute_ms: int, minute: _Minute) -> None:
        if minute_ms not in window.minutes:
            oldest_ms = minute_ms - (HOUR + RECENT) * MINUTE_MS
            window.minutes = {ms: known for ms, known in window.minutes.items() if ms >= oldest_ms}
        window.minutes[minute_ms] = minute
        if minute_ms <= window.last_settled_ms or window.provisional:
            window.changed = True

    def _window(self, cluster: str) -> _Window:
        window = self._windows.get(cluster)
        if window is None:
            known = self._clusters.get(cluster)
            window = self._windows[cluster] = _Window(
                # What arrives later is late, and there is a rule of its own for that.
                settled_ms=round(1000 * max(self._settings.lag_above, 2 * slowest_s(known))),
                patience_ms=round(1000 * patience_s(self._settings, known)),
            )
        return window

    # ---- what follows ----------------------------------------------------------------------------------------------

    def conditions(self) -> Iterator[Condition]:
        """Everything that holds by the minutes that were seen."""
        for name, window in self._windows.items():
            if window.changed:
                window.changed = False
                self._add_up(name, window)
            yield from window.conditions
            yield from self._power(name, window)

    def cost_per_hour(self, cluster: str) -> Stake | None:
        """What a cluster costs per hour, by the last minutes."""
        window = self._windows.get(cluster)
        if window is None or not window.recent_minutes:
            return None
        return _stake(window.recent.cost_nano, Fraction(HOUR, window.recent_minutes))

    def cost_of(self, cluster: str, gpus: float) -> Stake | None:
        """What so many of its devices cost per hour."""
        window = self._windows.get(cluster)
        if window is None or not window.recent.gpu_ns:
            return None
        return _stake(window.recent.cost_nano, Fraction(gpus) * 3600 * NANO / window.recent.gpu_ns)

    def _add_up(self, cluster: str, window: _Window) -> None:
        last = window.last_settled_ms = window.settled()
        recent = {ms: minute for ms, minute in window.minutes.items() if last - RECENT * MINUTE_MS < ms <= last}
        window.provisional = not recent
        begun = recent or window.minutes  # the running minute is judged only while there is no other
        models: dict[str, Amounts] = {}
        window.recent, window.recent_minutes = Amounts(), len(begun)
        for minute in begun.values():
            window.recent.add(minute.total)
            for model, amounts in minute.models.items():
                models.setdefault(model, Amounts()).add(amounts)
        window.conditions = [
            condition
            for model, amounts in models.items()
            for condition in self._cost_band(cluster, model, amounts, len(begun))
        ]
        if recent:
            before = [
                minute for ms, minute in window.minutes.items() if last - HOUR * MINUTE_MS < ms and ms not in recent
                and ms <= last
            ]  # fmt: skip
            for model in {*models, *(model for minute in before for model in minute.models)}:
                amounts = models.get(model, Amounts())
                baseline = _baseline(model, before)
                window.conditions += self._tokens_dropped(cluster, model, amounts, len(recent), baseline)
                window.conditions += self._tokens_or_energy(cluster, model, amounts, len(recent), baseline)
            window.conditions += self._coverage(cluster, window, recent)

    def _cost_band(self, cluster: str, model: str, unit: Amounts, minutes: int) -> Iterator[Condition]:
        if unit.tokens < LEAST_TOKENS or unit.cost_nano is None:
            return
        low, high = float(self._settings.cost_per_mtok_low), float(self._settings.cost_per_mtok_high)
        cost = unit.cost_nano / unit.tokens / 1000  # nano-dollars per token = 1e-3 dollars per million
        fires = beyond("cost_per_mtok", cost, high)
        if fires is None:
            return
        band_nano = round_half_even(self._settings.cost_per_mtok_high * 1000 * unit.tokens)
        above_nano = max(0, unit.cost_nano - band_nano)
        yield Condition(
            "cost_per_mtok", f"{cluster}/{model}", cost, high,
            lambda: Text(
                f"a million tokens of {model} on {cluster} cost {number(cost, 'en', 3)} {CURRENCY}, "
                f"above the band {number(low, 'en', 2)} to {number(high, 'en', 2)}",
                f"un million de jetons de {model} sur {cluster} coûte {number(cost, 'fr', 3)} {CURRENCY}, "
                f"au-dessus de la fourchette de {number(low, 'fr', 2)} à {number(high, 'fr', 2)}",
            ),
            fires, cluster=cluster, model=model, at_stake=_stake(above_nano, Fraction(HOUR, minutes)),
        )  # fmt: skip

    def _tokens_dropped(
        self, cluster: str, model: str, now: Amounts, minutes: int, before: Amounts | None
    ) -> Iterator[Condition]:
        """Tokens fell below a share of the baseline (per minute, like `before`) and power did not."""
        if before is None or before.tokens * minutes < LEAST_TOKENS:
            return
        if now.energy_mj < SAME_POWER * before.energy_mj * minutes:
            return
        share, limit = now.tokens / (before.tokens * minutes), float(self._settings.tokens_drop_to)
        wasted = 1 - Fraction(now.tokens, before.tokens * minutes)
        fires = beyond("tokens_dropped", share, limit)
        if fires is None:
            return
        per_s = now.tokens / minutes / 60, before.tokens / 60
        yield Condition(
            "tokens_dropped", f"{cluster}/{model}", share, limit,
            lambda: Text(
                f"{model} on {cluster} yields {number(per_s[0], 'en')} tokens per second where it yielded "
                f"{number(per_s[1], 'en')} in the hour before, at the same power",
                f"{model} sur {cluster} produit {number(per_s[0], 'fr')} jetons par seconde au lieu de "
                f"{number(per_s[1], 'fr')} dans l’heure précédente, à puissance égale",
            ),
            fires, cluster=cluster, model=model, at_stake=_stake(now.cost_nano, wasted * Fraction(HOUR, minutes)),
        )  # fmt: skip

    def _tokens_or_energy(
        self, cluster: str, model: str, now: Amounts, minutes: int, before: Amounts | None
    ) -> Iterator[Condition]:
        """One without the other."""
        subject = f"{cluster}/{model}"
        if now.tokens >= LEAST_TOKENS:
            joules, least = now.energy_mj / 1000 / now.tokens, float(self._settings.energy_per_token_least_j)
            fires = beyond("tokens_without_energy", joules, least)
            if fires is not None:
                yield Condition(
                    "tokens_without_energy", subject, joules, least,
                    lambda: Text(
                        f"{number(now.tokens, 'en')} tokens of {model} on {cluster} within {minutes} min, and "
                        f"{number(now.energy_mj / 1000, 'en')} J of GPU energy for them",
                        f"{number(now.tokens, 'fr')} jetons de {model} sur {cluster} en {minutes} min, et "
                        f"{number(now.energy_mj / 1000, 'fr')} J d’énergie GPU pour eux",
                    ),
                    fires, cluster=cluster, model=model,
                )  # fmt: skip
        elif not now.tokens and now.gpu_ns >= LEAST_GPU_S * NANO and not (before and before.tokens):
            # Where there were tokens within the hour, it is their rate that has dropped.
            busy, limit = now.busy_ns / now.gpu_ns, float(self._settings.busy_without_tokens)
            fires = beyond("energy_without_tokens", busy, limit)
            if fires is not None:
                yield Condition(
                    "energy_without_tokens", subject, busy, limit,
                    lambda: Text(
                        f"devices of {model} on {cluster} were busy {number(100 * busy, 'en')}% of the last {minutes} "
                        f"min and used {number(now.energy_mj / 3.6e9, 'en', 3)} kWh, and no token was counted",
                        f"des appareils de {model} sur {cluster} ont travaillé {number(100 * busy, 'fr')} % des "
                        f"{minutes} dernières min et consommé {number(now.energy_mj / 3.6e9, 'fr', 3)} kWh, et aucun "
                        "jeton n’a été compté",
                    ),
                    fires, cluster=cluster, model=model, at_stake=_stake(now.cost_nano, Fraction(HOUR, minutes)),
                )  # fmt: skip

    def _coverage(self, cluster: str, window: _Window, recent: dict[int, _Minute]) -> Iterator[Condition]:
        """Device time of the last minutes, against the most that any minute of the hour had."""
        known = [minute.total.gpu_ns for ms, minute in recent.items() if ms >= window.judged_from_ms]
        most = max((minute.total.gpu_ns for minute in window.minutes.values()), default=0)
        if not known or not most:
            return
        covered, limit = sum(known) / (most * len(known)), float(self._settings.coverage_below)
        fires = beyond("coverage", covered, limit)
        if fires is None:
            return
        lost_gpus = most * (1 - covered) / NANO / 60
        yield Condition(
            "coverage", cluster, covered, limit,
            lambda: Text(
                f"{number(100 * covered, 'en', 1)}% of the device time of {cluster} was measured over the last "
                f"{len(known)} min: as if {number(lost_gpus, 'en', 1)} devices of the last hour were missing",
                f"{number(100 * covered, 'fr', 1)} % du temps d’appareil de {cluster} a été mesuré depuis "
                f"{len(known)} min : comme s’il manquait {number(lost_gpus, 'fr', 1)} appareils de la dernière heure",
            ),
            fires, cluster=cluster, at_stake=self.cost_of(cluster, lost_gpus),
        )  # fmt: skip

    def _power(self, name: str, window: _Window) -> Iterator[Condition]:
        """Mean power of the last minute that is settled; or of one after it, as far as it goes, if that is more."""
        cluster: Cluster | None = self._clusters.get(name)
        if cluster is None or cluster.power_cap_kw is None:
            return
        limit, pue = float(cluster.power_cap_kw), float(cluster.pue_or_1)
        late = range(window.settled(), window.reached_ms, MINUTE_MS)
        energy_mj = max((window.minutes[ms].total.energy_mj for ms in late if ms in window.minutes), default=0)
        power_kw = energy_mj / MINUTE_MS * pue / 1000
        fires = beyond("power_cap", power_kw, limit)
        if fires is not None:
            yield Condition(
                "power_cap", name, power_kw, limit,
                lambda: Text(
                    f"{name} drew {number(power_kw, 'en', 1)} kW over a minute (GPUs x pue {pue:g}), "
                    f"above its cap of {number(limit, 'en', 1)} kW",
                    f"{name} a consommé {number(power_kw, 'fr', 1)} kW pendant une minute (GPU x pue "
                    f"{number(pue, 'fr', 2)}), au-dessus de son plafond de {number(limit, 'fr', 1)} kW",
                ),
                fires, cluster=name, at_stake=self.cost_per_hour(name),
            )  # fmt: skip


def _baseline(model: str, before: list[_Minute]) -> Amounts | None:
    """A model's minute, on average over those before, without its cost; None while too few are known."""
    if len(before) < BASELINE_LEAST:
        return None
    total = Amounts()
    for minute in before:
        if model in minute.models:
            total.add(minute.models[model])
    count = len(before)
    return Amounts(
        total.gpu_ns // count, total.busy_ns // count, total.energy_mj // count, total.tokens // count,
    )  # fmt: skip


def _stake(nano: int | None, per_hour: Fraction) -> Stake | None:
    """So many times an amount, per hour."""
    return None if nano is None else Stake(round_half_even(nano * per_hour), CURRENCY)
