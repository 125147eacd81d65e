"""What pricing again changes, for each agreement: cost, subsidy and charge before and after."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table

from compose.finance.pricing import Priced
from compose.finance.rating import MEASURES, Lines
from schemas.money import nano_to_decimal

AMOUNTS = ("cost_nano", "subsidy_nano", "charge_nano")


@dataclass(slots=True)
class Effect:
    """Sums over the hours that were priced, in nano-units."""

    name: str
    """An agreement, or the category of what has none."""
    currency: str
    before: list[int]
    """Of each of AMOUNTS."""
    after: list[int]
    hours: set[int]
    """Unix time of those that change."""

    @property
    def changes(self) -> bool:
        return bool(self.hours)


def effects(parts: Iterable[Priced]) -> list[Effect]:
    """The effect of everything that was priced, on whatever has a line in it; by name."""
    found: dict[tuple[str, str], Effect] = {}

    def of(lines: Lines) -> Iterator[tuple[Effect, int, list[int]]]:
        for key, figures in lines.items():
            name = (key.agreement or key.category, key.currency)
            effect = found.setdefault(name, Effect(*name, [0] * len(AMOUNTS), [0] * len(AMOUNTS), set()))
            yield effect, key.hour_s, [figures[MEASURES.index(amount)] for amount in AMOUNTS]

    for part in parts:
        for effect, _, amounts in of(part.before):
            effect.before = [known + amount for known, amount in zip(effect.before, amounts, strict=True)]
        for effect, _, amounts in of(part.after):
            effect.after = [known + amount for known, amount in zip(effect.after, amounts, strict=True)]
        for effect, hour_s, _ in of(part.differences):
            effect.hours.add(hour_s)
    return sorted(found.values(), key=lambda effect: (effect.name, effect.currency))


def as_table(found: Iterable[Effect], title: str) -> Table:
    """Effects for the terminal; what does not change is left out."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("", "hours", "cost", "→", "subsidy", "→", "recipient", "→", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for effect in found:
        if effect.changes:
            amounts = [text(value) for pair in zip(effect.before, effect.after, strict=True) for value in pair]
            table.add_row(effect.name, str(len(effect.hours)), *amounts, effect.currency)
    return table


def as_records(found: Iterable[Effect]) -> list[dict[str, object]]:
    """Effects for JSON: amounts as exact text."""
    return [
        {
            "name": effect.name,
            "currency": effect.currency,
            "hours_changed": len(effect.hours),
            **{
                f"{amount.removesuffix('_nano')}_{when}": f"{nano_to_decimal(value):f}"
                for when, values in (("before", effect.before), ("after", effect.after))
                for amount, value in zip(AMOUNTS, values, strict=True)
            },
        }
        for effect in found
    ]


def text(nano: int) -> str:
    """An amount to the cent below 1,000,000 units, exact to the nano-unit where cents would show nothing."""
    amount = nano_to_decimal(nano)
    return f"{amount:,.2f}" if not nano or abs(nano) >= 10**7 else f"{amount:,f}"
