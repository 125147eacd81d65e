"""What a viewer has chosen, as it stands in the address: range, variables, language, theme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from dashboards.macros import Window
from dashboards.model import Dashboard
from dashboards.units import LANGS, Lang

RANGES: dict[str, int] = {
    "5m": 300,
    "15m": 900,
    "1h": 3600,
    "6h": 6 * 3600,
    "24h": 24 * 3600,
    "7d": 7 * 86_400,
    "30d": 30 * 86_400,
}
Theme = Literal["", "light", "dark"]
"""Empty: as the system has it."""

POINTS = 240
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class State:
    """One viewer's choices. Variables hold the chosen values; an absent or empty one means All."""

    dashboard: Dashboard
    range: str
    lang: Lang
    theme: Theme
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, dashboard: Dashboard, params: QueryParams, accept_language: str) -> "State":
        """From an address; whatever is not understood falls back to the default."""
        span = params.get("range", "")
        themes: dict[str, Theme] = {"light": "light", "dark": "dark"}
        asked = params.get("lang", "")
        preferred: Lang = "fr" if accept_language.strip().lower().startswith("fr") else "en"
        return cls(
            dashboard=dashboard,
            range=span if span in RANGES else dashboard.range,
            lang=next((lang for lang in LANGS if lang == asked), preferred),
            theme=themes.get(params.get("theme", ""), ""),
            chosen={v.name: tuple(params.getlist(v.name)) for v in dashboard.variables if params.getlist(v.name)},
        )

    def choose(self, variable: str, values: Sequence[str]) -> "State":
        """With other values of one variable."""
        return replace(self, chosen={**self.chosen, variable: tuple(values)})

    def window(self, now_s: float, step_s: float) -> Window:
        """The range that ends now, on a grid of `step_s`, so that all viewers of a moment ask the same question."""
        step_ms = max(1000, round(step_s * 1000))
        to_ms = int(now_s * 1000) // step_ms * step_ms
        span_s = RANGES[self.range]
        interval_s = next((step for step in _STEPS_S if span_s / step <= POINTS), _STEPS_S[-1])
        return Window(to_ms - span_s * 1000, to_ms, interval_s * 1000)

    def values(self) -> dict[str, Sequence[str]]:
        """Every variable of the dashboard, and the language, for macros.substitute."""
        return {"lang": (self.lang,)} | {v.name: self.chosen.get(v.name, ()) for v in self.dashboard.variables}

    def link(self, to: Dashboard | None = None, **only: str) -> str:
        """Address of a dashboard with the same choices, as far as it knows the variables; `only` sets one of them."""
        target = to or self.dashboard
        names = {variable.name for variable in target.variables}
        chosen = {name: values for name, values in self.chosen.items() if name in names and values}
        chosen |= {name: (value,) for name, value in only.items() if name in names}
        query: list[tuple[str, str]] = [("range", self.range), ("lang", self.lang)]
        if self.theme:
            query.append(("theme", self.theme))
        query += [(name, value) for name in sorted(chosen) for value in chosen[name]]
        return f"/d/{target.uid}?{urlencode(query)}"
