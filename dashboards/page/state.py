"""What a viewer has chosen, as it stands in the address: range, variables, language, theme, marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from dashboards.macros import Window, expand, substitute
from dashboards.model import Dashboard, Panel
from dashboards.page.ranges import PRESETS as RANGES
from dashboards.page.ranges import Range
from dashboards.units import Figure, Unit, figure
from schemas.texts import LANGS, Lang

__all__ = ["RANGES", "State", "Theme"]

Theme = Literal["", "light", "dark"]
"""Empty: as the system has it."""


@dataclass(frozen=True, slots=True)
class State:
    """One viewer's choices. Variables hold the chosen values; an absent or empty one means All, or the default."""

    dashboard: Dashboard
    range: Range
    lang: Lang
    theme: Theme
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_range: bool = False
    """The viewer chose the range; else it is the one that this dashboard opens with, and stays with it."""
    marks: bool = True
    """Annotations are drawn in the charts."""

    @classmethod
    def read(
        cls, dashboard: Dashboard, params: QueryParams, accept_language: str, opens_with: str | None = None
    ) -> "State":
        """From an address; whatever is not understood falls back to the default.

        `opens_with` is the preset to begin with instead of the dashboard's own.
        """
        asked_range = Range.read(params)
        themes: dict[str, Theme] = {"light": "light", "dark": "dark"}
        asked = params.get("lang", "")
        preferred: Lang = "fr" if accept_language.strip().lower().startswith("fr") else "en"
        chosen = {v.name: tuple(params.getlist(v.name)) for v in dashboard.variables if params.getlist(v.name)}
        return cls(
            dashboard=dashboard,
            range=asked_range or Range(opens_with or dashboard.range),
            lang=next((lang for lang in LANGS if lang == asked), preferred),
            theme=themes.get(params.get("theme", ""), ""),
            chosen={v.name: chosen[v.name][:1] if v.default else chosen[v.name]
                    for v in dashboard.variables if v.name in chosen},
            own_range=asked_range is not None,
            marks=params.get("marks") != "off",
        )  # fmt: skip

    def choose(self, variable: str, values: Sequence[str]) -> "State":
        """With other values of one variable."""
        return replace(self, chosen={**self.chosen, variable: tuple(values)})

    def within(self, span: Range) -> "State":
        """With another range."""
        return replace(self, range=span, own_range=True)

    def with_marks(self, drawn: bool) -> "State":
        """With annotations drawn, or not."""
        return replace(self, marks=drawn)

    def values(self) -> dict[str, Sequence[str]]:
        """Every variable of the dashboard, and the language, for macros.substitute."""
        return {"lang": (self.lang,)} | {
            v.name: self.chosen.get(v.name, ()) or ((v.default,) if v.default else ()) for v in self.dashboard.variables
        }

    def statement(self, sql: str, window: Window) -> str:
        """SQL of a definition as it is run: macros and variables filled in."""
        return expand(substitute(sql, self.values()), window)

    def link(
        self,
        to: Dashboard | None = None,
        variables: Mapping[str, str] | None = None,
        span: Range | None = None,
    ) -> str:
        """Address of a dashboard with the same choices, as far as it knows the variables; some set to other values.

        Without `span` the range goes along if the viewer chose it.
        """
        target = to or self.dashboard
        return f"/d/{target.uid}?{urlencode(self._query(target, variables or {}, span))}"

    def download(self, panel: Panel, form: str) -> str:
        """Address of what a panel shows, as csv or sql."""
        return f"/d/{self.dashboard.uid}/{panel.name}.{form}?{urlencode(self._query(self.dashboard, {}, self.range))}"

    def _query(self, target: Dashboard, variables: Mapping[str, str], span: Range | None) -> list[tuple[str, str]]:
        names = {variable.name for variable in target.variables}
        chosen = {name: values for name, values in self.chosen.items() if name in names and values}
        chosen |= {name: (value,) for name, value in variables.items() if name in names}
        shown = span or (self.range if self.own_range else None)
        query = [*(shown.query() if shown else []), ("lang", self.lang)]
        if self.theme:
            query.append(("theme", self.theme))
        if not self.marks:
            query.append(("marks", "off"))
        return query + [(name, value) for name in sorted(chosen) for value in chosen[name]]

    # How a viewer reads figures: the language, and the currency that amounts are in.

    def suffix(self, unit: Unit) -> str:
        """What stands behind a number: the chosen currency in front of the unit's own."""
        currency = next(iter(self.values().get("currency", ())), "") if unit.money else ""
        return currency + unit.suffix.of(self.lang)

    def figure(self, value: object, unit: Unit, *, compact: bool = False) -> Figure:
        """A value as written. Raises TypeError for one that the unit cannot carry."""
        written = figure(value, unit, self.lang, compact=compact)
        return Figure(written.digits, self.suffix(unit)) if unit.money else written
