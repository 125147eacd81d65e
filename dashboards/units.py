"""Units of panels: the name that Grafana knows, and how the page writes a value in English and French."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from schemas.texts import Lang, Text

Number = int | float | Decimal

NARROW_SPACE = "\u202f"


class Style(StrEnum):
    """How the digits of a unit are chosen."""

    TEXT = "text"
    MONEY = "money"
    SIGNIFICANT = "significant"
    WHOLE = "whole"
    SHARE = "share"
    DURATION = "duration"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Unit:
    """`grafana` is the unit id of Grafana 13; `suffix` is what the page writes behind the number."""

    grafana: str
    suffix: Text
    style: Style
    seconds: int = 1
    """Durations: seconds in one unit of the value."""
    money: bool = False
    """The amount is in the chosen currency (variable `currency`): Grafana says it in the panel's title, the page in
    front of the suffix."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value as written: digits, and the unit apart so that it can be set smaller."""

    digits: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.digits}\u00a0{self.unit}" if self.unit else self.digits


def _same(text: str) -> Text:
    return Text(text, text)


TEXT = Unit("string", _same(""), Style.TEXT)
MONEY = Unit("locale", _same(""), Style.MONEY, money=True)
MONEY_PER_HOUR = Unit("suffix: /h", _same("/h"), Style.MONEY, money=True)
MONEY_PER_MTOK = Unit("suffix: /Mtok", Text("/Mtok", "/Mjetons"), Style.SIGNIFICANT, money=True)
# Amounts whose currency stands in a column of its own.
AMOUNT = Unit("none", _same(""), Style.MONEY)
AMOUNT_PER_HOUR = Unit("suffix: /h", _same("/h"), Style.MONEY)
AMOUNT_PER_MTOK = Unit("suffix: /Mtok", Text("/Mtok", "/Mjetons"), Style.SIGNIFICANT)
SHARE = Unit("percentunit", _same("%"), Style.SHARE)
HOURS = Unit("h", _same(""), Style.DURATION, seconds=3600)
SECONDS = Unit("s", _same(""), Style.DURATION)
MOMENT = Unit("dateTimeAsIso", _same("UTC"), Style.MOMENT)
TOKENS = Unit("si:tok", Text("tok", "jetons"), Style.WHOLE)
TOKENS_PER_SECOND = Unit("si:tok/s", Text("tok/s", "jetons/s"), Style.SIGNIFICANT)
JOULES_PER_TOKEN = Unit("suffix: J/tok", Text("J/tok", "J/jeton"), Style.SIGNIFICANT)
COUNT = Unit("locale", _same(""), Style.WHOLE)
WATTS = Unit("watt", _same("W"), Style.SIGNIFICANT)
KILOWATTS = Unit("kwatt", _same("kW"), Style.SIGNIFICANT)
KWH = Unit("kwatth", _same("kWh"), Style.SIGNIFICANT)
KG_CO2E = Unit("suffix: kg CO₂e", _same("kg CO₂e"), Style.SIGNIFICANT)
KG_CO2E_PER_HOUR = Unit("suffix: kg CO₂e/h", _same("kg CO₂e/h"), Style.SIGNIFICANT)
G_CO2E_PER_KWH = Unit("suffix: g CO₂e/kWh", _same("g CO₂e/kWh"), Style.SIGNIFICANT)
RATIO = Unit("none", _same(""), Style.SIGNIFICANT)
CELSIUS = Unit("celsius", _same("°C"), Style.SIGNIFICANT)
TIMES = Unit("suffix: ×", _same("×"), Style.SIGNIFICANT)
MESSAGES = Unit("locale", Text("messages", "messages"), Style.WHOLE)
GPU_HOURS = Unit("suffix: GPU-h", Text("GPU-h", "GPU-h"), Style.SIGNIFICANT)


def figure(value: object, unit: Unit, lang: Lang, *, compact: bool = False) -> Figure:
    """A value in its unit. Times are UTC. `compact` leaves out cents of large amounts (tiles).

    Raises TypeError for a value that the unit cannot carry, such as a text in CAD.
    """
    if unit.style is Style.TEXT:
        return Figure(str(value))
    if unit.style is Style.MOMENT:
        return Figure(moment(value), unit.suffix.of(lang))
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError(f"{value!r} is not a number of unit {unit.grafana}")
    exact = Decimal(value) if not isinstance(value, float) else Decimal(repr(value))
    if unit.style is Style.DURATION:
        return Figure(duration(exact * unit.seconds, lang))
    if unit.style is Style.SHARE:
        exact *= 100
        places = 1 if abs(exact) < 1000 else 0
    elif unit.style is Style.WHOLE:
        places = 0
    elif unit.style is Style.MONEY:
        places = _money_places(exact, compact)
    else:
        places = _significant_places(exact)
    return Figure(digits(exact, places, lang), unit.suffix.of(lang))


def digits(value: Decimal, places: int, lang: Lang) -> str:
    """Fixed decimals, half-even, thousands grouped: 1,234.50 and 1 234,50 (narrow no-break space)."""
    rounded = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    text = f"{abs(rounded):,f}"
    if lang == "fr":
        text = text.replace(",", NARROW_SPACE).replace(".", ",")
    return f"\u2212{text}" if rounded < 0 else text


def _money_places(value: Decimal, compact: bool) -> int:
    if value != 0 and abs(value) < Decimal("0.1"):
        return 4
    return 0 if compact and abs(value) >= 100_000 else 2


def _significant_places(value: Decimal, significant: int = 4) -> int:
    if value == 0:
        return 0
    return max(0, min(9, significant - 1 - value.adjusted()))


def duration(seconds: Decimal, lang: Lang) -> str:
    """The two largest parts: 3 d 4 h, 12 min 5 s. French writes j for days and a for years."""
    day, year = ("j", "a") if lang == "fr" else ("d", "y")
    parts = [(31_557_600, year), (86_400, day), (3600, "h"), (60, "min"), (1, "s")]
    left = int(seconds.to_integral_value(rounding=ROUND_HALF_EVEN))
    if left < 0:
        return f"\u2212{duration(-seconds, lang)}"
    for index, (size, name) in enumerate(parts):
        if left >= size or size == 1:
            text = f"{left // size:,}".replace(",", NARROW_SPACE) + f"\u00a0{name}"
            if index + 1 < len(parts) and left // size < 100:
                smaller, smaller_name = parts[index + 1]
                rest = left % size // smaller
                if rest:
                    text += f" {rest}\u00a0{smaller_name}"
            return text
    raise AssertionError("a second is the smallest part")


def moment(value: object) -> str:
    """A moment in UTC as 2027-03-31 14:05; the number form is unix milliseconds, as Grafana wants it."""
    if isinstance(value, datetime):
        when = value if value.tzinfo else value.replace(tzinfo=UTC)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        when = datetime.fromtimestamp(float(value) / 1000, UTC)
    else:
        raise TypeError(f"{value!r} is not a moment")
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
