"""Values are written as finance and operations read them, in both languages."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards import units
from dashboards.units import figure
from schemas.texts import Lang

NNBSP, NBSP = "\u202f", "\u00a0"


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (Decimal("1234567.891"), units.MONEY, "1,234,567.89", "1 234 567,89"),
        (Decimal("-0.5"), units.MONEY, "−0.50", "−0,50"),
        (Decimal("0.00345"), units.MONEY_PER_HOUR, "0.0034 /h", "0,0034 /h"),
        (Decimal(0), units.MONEY, "0.00", "0,00"),
        (0.104036, units.MONEY_PER_MTOK, "0.1040 /Mtok", "0,1040 /Mjetons"),
        (123456.7, units.TOKENS_PER_SECOND, "123,457 tok/s", "123 457 jetons/s"),
        (0.7390378, units.SHARE, "73.9 %", "73,9 %"),
        (110.5 * 24, units.HOURS, "110 d", "110 j"),
        (26.5, units.HOURS, "1 d 2 h", "1 j 2 h"),
        (9000.0, units.HOURS, "1 y 9 d", "1 a 9 j"),
        (0, units.SECONDS, "0 s", "0 s"),
        (75.4, units.SECONDS, "1 min 15 s", "1 min 15 s"),
        (1_804_750_894_000, units.MOMENT, "2027-03-11 07:41 UTC", "2027-03-11 07:41 UTC"),
        (datetime(2026, 4, 1, 12, tzinfo=UTC), units.MOMENT, "2026-04-01 12:00 UTC", "2026-04-01 12:00 UTC"),
        ("Acme", units.TEXT, "Acme", "Acme"),
    ],
)
def test_written(value: object, unit: units.Unit, english: str, french: str) -> None:
    for lang, want in (("en", english), ("fr", french)):
        written = str(figure(value, unit, "fr" if lang == "fr" else "en"))
        assert written.replace(NNBSP, " ").replace(NBSP, " ") == want


def test_tiles_leave_out_cents_of_large_amounts() -> None:
    assert str(figure(Decimal("1234567.891"), units.MONEY, "en", compact=True)) == "1,234,568"
    assert str(figure(Decimal("99999.50"), units.MONEY, "en", compact=True)) == "99,999.50"


@given(st.decimals(-(10**12), 10**12, places=9), st.sampled_from(["en", "fr"]))
def test_no_amount_is_misread(value: Decimal, lang: Lang) -> None:
    """Reading the written number back gives the amount to half of its last digit, in either language."""
    digits = figure(value, units.MONEY, lang).digits.replace("−", "-")
    read = Decimal(digits.replace(NNBSP, "").replace(",", ".") if lang == "fr" else digits.replace(",", ""))
    assert abs(read - value) <= Decimal("0.005")


@pytest.mark.parametrize("value", ["1", None, True])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        figure(value, units.MONEY, "en")
