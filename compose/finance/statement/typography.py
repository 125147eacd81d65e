"""Numbers, amounts and dates as English and French write them. Pure, from integers, never through a float."""

import re
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Literal

from schemas.money import NANO, round_half_even

Language = Literal["en", "fr"]

NBSP = "\u00a0"
MINUS = "\u2212"

_MONTHS = {
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"),
    "fr": ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
           "novembre", "décembre"),
}  # fmt: skip
_SIGNS = {"CAD": "$", "USD": "$" + NBSP + "US", "EUR": "€", "GBP": "£"}


def apostrophes(text: str) -> str:
    """A text that a person typed, with ’ for the ' of a keyboard where it stands between letters."""
    return re.sub(r"(?<=[^\W\d_])'(?=[^\W\d_])", "’", text)


def number(value: int, language: Language, places: int = 0) -> str:
    """`value` units of 10^-places: 123456 with two places is 1,234.56 or 1 234,56."""
    whole, fraction = divmod(abs(value), 10**places)
    thousands, point = (",", ".") if language == "en" else (NBSP, ",")
    text = f"{whole:,}".replace(",", thousands)
    if places:
        text += f"{point}{fraction:0{places}d}"
    return (MINUS if value < 0 else "") + text


def rounded(value: Fraction, language: Language, places: int = 0) -> str:
    """An exact number with so many places, half-even."""
    return number(round_half_even(value * 10**places), language, places)


def plain(value: Fraction, language: Language, places: int = 2) -> str:
    """An exact decimal with all its places, up to nine, and at least `places`: 0.0776."""
    nano = round_half_even(value * NANO)
    kept = 9
    while kept > places and nano % 10 == 0:
        nano, kept = nano // 10, kept - 1
    return number(nano, language, kept)


def money(text: str, currency: str, language: Language) -> str:
    """An amount, already written as a number, with its currency: CAD 1,234.56 or 1 234,56 $."""
    return f"{currency}{NBSP}{text}" if language == "en" else f"{text}{NBSP}{_SIGNS.get(currency, currency)}"


def cents(value: int, currency: str, language: Language) -> str:
    """Hundredths with their currency."""
    return money(number(value, language, 2), currency, language)


def percent(part: int, whole: int, language: Language) -> str:
    """Share with one place; of nothing: a dash."""
    if whole == 0:
        return "–"
    return rounded(Fraction(100 * part, whole), language, 1) + ("%" if language == "en" else f"{NBSP}%")


def day(value: date, language: Language) -> str:
    """31 March 2026, 31 mars 2026, 1er mars 2026."""
    ordinal = "1er" if language == "fr" and value.day == 1 else str(value.day)
    return f"{ordinal}{NBSP}{month(value, language)}"


def month(value: date, language: Language) -> str:
    """October 2026, octobre 2026."""
    return f"{_MONTHS[language][value.month - 1]}{NBSP}{value.year}"


def moment(value: datetime, language: Language) -> str:
    """5 November 2026, 12:00:03 UTC; 5 novembre 2026, 12 h 00 min 03 s UTC. Milliseconds are for `--as-of`."""
    value = value.astimezone(UTC)
    if language == "en":
        clock = f"{value:%H:%M:%S}"
    else:
        clock = f"{value.hour}{NBSP}h{NBSP}{value:%M}{NBSP}min{NBSP}{value:%S}{NBSP}s"
    return f"{day(value.date(), language)}, {clock}{NBSP}UTC"
