"""The burn report for the terminal, and as JSON."""

import json
from datetime import datetime
from fractions import Fraction

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compose.finance.burn_report import WINDOWS, Burn, Rates, Report, Total
from compose.finance.forecasting import Forecast
from schemas.money import nano_to_decimal, to_nano
from streams.planning import ends_at

_STYLES = {"used up": "bold red", "ahead of plan": "red", "on plan": "green", "behind plan": "yellow"}
_MANY_H = 60 * 24  # a runway from here on is told in days


# ---- the terminal ----------------------------------------------------------------------------------------------------


def as_tables(report: Report) -> RenderableType:
    """One table for each programme, its total below; 140 columns are enough."""
    believed = f", as believed on {report.as_of:%Y-%m-%d %H:%M:%S} UTC" if report.as_of else ""
    parts: list[RenderableType] = [
        Text(f"Burn of subsidy until {report.at:%Y-%m-%d %H:%M} UTC{believed}", style="bold")
    ]
    totals = {total.programme.id: total for total in report.totals}
    for programme in dict.fromkeys(burn.agreement.programme for burn in report.burns):
        burns = [burn for burn in report.burns if burn.agreement.programme == programme]
        parts.append(_table(programme, burns, totals.get(programme)))
    if not report.burns:
        parts.append(Text("no agreement is described"))
    return Group(*parts)


def _table(programme: str, burns: list[Burn], total: Total | None) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{programme}, {burns[0].currency}", title_justify="left",
        pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("agreement", no_wrap=True)
    for name in (
        "spent\nof cap", "used\nbeyond plan", "per h, 5 min\n1 h", "per h, 6 h\n3 d", "runway",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("runs out\n8 in 10 within", "ends", "state"):
        table.add_column(name, no_wrap=True)
    for burn in burns:
        state = burn.status.partition(":")[0]  # the rest is in the column "runs out"
        table.add_row(
            burn.agreement.id, f"{_amount(burn.spent_nano)}\n{_amount(burn.cap_nano, 'no cap')}",
            f"{_share(burn.spent_nano, burn.cap_nano)}\n{_signed(burn.beyond_plan_nano)}", *_rates(burn.rates),
            _runway(burn), _band(burn.forecast), f"{burn.agreement.ends}",
            Text(state, style=_STYLES.get(state, "")),
        )  # fmt: skip
    if total is not None:
        budget_nano = to_nano(total.programme.budget)
        beyond = None if total.planned_nano is None else total.spent_nano - total.planned_nano
        table.add_section()
        table.add_row(
            "budget", f"{_amount(total.spent_nano)}\n{_amount(budget_nano)}",
            f"{_share(total.spent_nano, budget_nano)}\n{_signed(beyond)}", *_rates(total.rates),
            "", "", f"{total.programme.ends}", "",
            style="bold",
        )  # fmt: skip
    return table


def _amount(nano: int | None, absent: str = "–") -> str:
    """Cents; whole units from a hundred thousand on."""
    if nano is None:
        return absent
    return f"{nano_to_decimal(nano):,.0f}" if abs(nano) >= 10**14 else f"{nano_to_decimal(nano):,.2f}"


def _signed(nano: int | None) -> str:
    return ("+" if nano is not None and nano > 0 else "") + _amount(nano)


def _rates(rates: Rates) -> tuple[str, str]:
    five, hour, six, days = (_amount(rates[window]) for window in WINDOWS)
    return f"{five}\n{hour}", f"{six}\n{days}"


def _share(part_nano: int, whole_nano: int | None) -> str:
    return f"{nano_to_decimal(_ratio(part_nano, whole_nano)):.1%}" if whole_nano else "–"


def _ratio(part_nano: int, whole_nano: int) -> int:
    return to_nano(Fraction(part_nano, whole_nano))


def _runway(burn: Burn) -> str:
    """Nothing of it once the money lasts longer than the agreement does."""
    hours = burn.runway_hours
    if hours is None:
        return "–"
    if hours > Fraction(int((ends_at(burn.agreement) - burn.at).total_seconds()), 3600):
        return "beyond\nits end"
    return f"{nano_to_decimal(to_nano(hours)):,.1f} h" if hours < _MANY_H else f"{round(hours / 24):,} d"


def _band(forecast: Forecast | None) -> str:
    """The day, and below it the band in days before and after; what lies beyond the agreement is open."""
    if forecast is None or forecast.projected_end_early is None:
        return "–"
    if forecast.projected_end is None:
        return f"not before\n{forecast.projected_end_early:%Y-%m-%d}"
    before = (forecast.projected_end - forecast.projected_end_early).days
    late = forecast.projected_end_late
    after = f"+{(late - forecast.projected_end).days} d" if late else "open"
    return f"{forecast.projected_end:%Y-%m-%d}\n-{before} d, {after}"


# ---- JSON ------------------------------------------------------------------------------------------------------------


def as_json(report: Report) -> str:
    """Amounts, hours and shares as decimals of nine places, in quotes; moments in UTC."""
    return json.dumps(
        {
            "at": _moment(report.at),
            "as_of": _moment(report.as_of),
            "agreements": [_of_burn(burn) for burn in report.burns],
            "programmes": [_of_total(total) for total in report.totals],
        },
        indent=2,
        ensure_ascii=False,
    )


def _of_burn(burn: Burn) -> dict[str, object]:
    forecast = burn.forecast
    runway = burn.runway_hours
    return {
        "programme": burn.agreement.programme,
        "agreement": burn.agreement.id,
        "recipient": burn.agreement.recipient,
        "currency": burn.currency,
        "spent": _decimal(burn.spent_nano),
        "cap": _decimal(burn.cap_nano),
        "used_share": _decimal(_ratio(burn.spent_nano, burn.cap_nano)) if burn.cap_nano else None,
        "planned": _decimal(burn.planned_nano),
        "beyond_plan": _decimal(burn.beyond_plan_nano),
        "burn_per_hour": {window: _decimal(rate) for window, rate in burn.rates.items()},
        "runway_hours": None if runway is None else _decimal(to_nano(runway)),
        "forecast": None if forecast is None else {
            "until": _moment(forecast.until),
            "days": forecast.days,
            "mean_per_day": _decimal(forecast.mean_nano_per_day),
            "projected_end_early": _moment(forecast.projected_end_early),
            "projected_end": _moment(forecast.projected_end),
            "projected_end_late": _moment(forecast.projected_end_late),
            "spent_at_end": _decimal(forecast.spent_at_end_nano),
        },
        "ends_at": _moment(ends_at(burn.agreement)),
        "status": burn.status,
    }  # fmt: skip


def _of_total(total: Total) -> dict[str, object]:
    budget_nano = to_nano(total.programme.budget)
    return {
        "programme": total.programme.id,
        "currency": total.programme.currency,
        "budget": _decimal(budget_nano),
        "spent": _decimal(total.spent_nano),
        "used_share": _decimal(_ratio(total.spent_nano, budget_nano)) if budget_nano else None,
        "caps": _decimal(total.cap_nano),
        "planned": _decimal(total.planned_nano),
        "burn_per_hour": {window: _decimal(rate) for window, rate in total.rates.items()},
    }


def _decimal(nano: int | None) -> str | None:
    return None if nano is None else f"{nano_to_decimal(nano):f}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
