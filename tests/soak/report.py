"""The report of a soak, for people and for programs."""

import json

from rich import box
from rich.console import Console
from rich.table import Table

from tests.soak.outcome import Outcome
from tests.soak.plan import KINDS

SHOWN = 40


def show(outcome: Outcome, console: Console) -> None:
    """Faults by kind, messages, rows lost and doubled, the longest catch-up; what is wrong, if anything."""
    table = Table(box=box.SIMPLE_HEAD, title="Faults", title_justify="left")
    for name, justify in (("kind", "left"), ("", "left"), ("times", "right"), ("longest catch-up", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for kind, count in sorted(outcome.caused.items()):
        table.add_row(kind, KINDS[kind].what, f"{count}", _seconds(_longest(outcome, kind)))
    console.print(table)
    for name, value in _figures(outcome).items():
        console.print(f"{name:<22}{value}", soft_wrap=True)
    for ended in outcome.ended:
        console.print(f"  {ended.name} ended with {ended.status}: {ended.said}", soft_wrap=True, markup=False)
    wrong = outcome.wrong()
    for line in wrong[:SHOWN]:
        console.print(line, soft_wrap=True, style="red", markup=False)
    if len(wrong) > SHOWN:
        console.print(f"… and {len(wrong) - SHOWN} more", style="red")
    same = "[green]the ledger equals that of the undisturbed run, row for row[/]"
    console.print("[red]not everything is as it must be[/]" if wrong else same)


def as_json(outcome: Outcome) -> str:
    """The same for programs."""
    longest = outcome.longest
    return json.dumps(
        {
            "seed": outcome.plan.seed,
            "seconds": outcome.plan.seconds,
            "brokers": outcome.plan.brokers,
            "took_s": round(outcome.took_s, 1),
            "faults": dict(sorted(outcome.caused.items())),
            "messages": outcome.log.sent,
            "messages_repeated": outcome.log.again,
            "messages_injected": dict(outcome.log.injected),
            "quarantined": len(outcome.quarantined),
            "rows": {difference.table: difference.rows for difference in outcome.differences},
            "rows_lost": outcome.lost,
            "rows_doubled": outcome.doubled,
            "rows_changed": outcome.changed,
            "longest_catch_up_s": longest and round(longest.took_s or 0, 1),
            "catch_ups": [
                {"kind": item.kind, "at_s": round(item.at_s, 1), "took_s": item.took_s and round(item.took_s, 1)}
                for item in outcome.catch_ups
            ],
            "ended": [ended._asdict() for ended in outcome.ended],
            "audits": len(outcome.audits),
            "wrong": outcome.wrong(),
        },
        indent=2,
    )


def _figures(outcome: Outcome) -> dict[str, str]:
    log, longest = outcome.log, outcome.longest
    injected = ", ".join(f"{count:,} {kind}" for kind, count in sorted(log.injected.items()))
    passed = sum(audit.passed for audit in outcome.audits)
    return {
        "seed": f"{outcome.plan.seed} (brokers: {outcome.plan.brokers}, {outcome.plan.seconds:g} s)",
        "faults": f"{outcome.caused.total()} of {len(outcome.caused)} kinds",
        "messages": f"{log.sent:,} of the collectors ({log.again:,} sent again), injected: {injected or 'none'}",
        "quarantine": f"{len(outcome.quarantined):,} messages, {len(log.unreadable):,} expected",
        "rows of the book": ", ".join(f"{item.rows:,} {item.table}" for item in outcome.differences),
        "rows lost": f"{outcome.lost:,}",
        "rows doubled": f"{outcome.doubled:,}",
        "rows changed": f"{outcome.changed:,}",
        "audits": f"{passed} of {len(outcome.audits)} pass",
        "longest catch-up": f"{_seconds(longest.took_s if longest else None)} after {longest.kind if longest else '-'}",
        "ended unasked": f"{len(outcome.ended)} processes, started again",
        "took": _seconds(outcome.took_s),
    }


def _longest(outcome: Outcome, kind: str) -> float | None:
    return max((c.took_s for c in outcome.catch_ups if c.kind == kind and c.took_s is not None), default=None)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
