"""The index of the example: what happened, what each file is, which command writes such a file, and the totals."""

from collections.abc import Iterable, Sequence

from compose.finance.statement.model import Statement, exact
from tests.examples import events
from tests.examples.files import File
from tests.examples.sessions import MINUTES

NAME = "README.md"
_TEXT = """# A month of the demonstration

`make examples` writes these files, the same ones on each run; `tests/examples/` is how. The simulated fabric of
[compose/demo.toml](../../compose/demo.toml), here with {gpus} GPUs, goes through the code that collectors, workers and
`commonwatt settle` run; only HTTP, Kafka and the wall clock are left out. Firms and laboratories are invented.

The demonstration ran {minutes} minutes on each of four days. So amounts are those of minutes, not of a month's work,
and the statements say how little of each hour was observed, as coverage.

| UTC | what happened |
|---|---|
{happened}

## Files

The commands write such files from a book of your own.

| file | what it is | command |
|---|---|---|
{files}

## Totals

Exact, in the currency of the programme. What the programme pays and what the recipient pays add up to the cost.

| statement | cost | programme pays | recipient pays | of that, corrections of earlier months |
|---|---:|---:|---:|---:|
{totals}

In the FOCUS files, the rows of an invoice (`InvoiceId` is the number of the statement) add up to what the recipient
pays: `Usage` rows to the cost, `Credit` rows to minus what the programme pays. `tests/examples/test_examples.py` checks
it, to the last place.
"""


def index(files: Iterable[File], statements: Sequence[Statement], gpus: int) -> str:
    """As Markdown."""
    return _TEXT.format(
        gpus=gpus,
        minutes=MINUTES,
        happened="\n".join(f"| {moment} | {what} |" for moment, what in _happened()),
        files="\n".join(f"| [{name}]({name}) | {what} | `{command}` |" for name, what, command in files),
        totals="\n".join(map(_totals, statements)),
    )


def _happened() -> list[tuple[str, str]]:
    runs = dict.fromkeys(events.SESSIONS, "the demonstration runs; its hour is priced at 15:05, and final at 22:05")
    runs[events.LATE_SESSION] += (
        f"; the last {events.LATE_MINUTES} messages of the collector of `{events.LATE_CLUSTER}` stay in its spool"
    )
    moments = runs | {
        events.CLOSES: "October is closed",
        events.LATE_ARRIVES: "those messages arrive: what they change of October is booked in November",
        events.CORRECTED: f"a price is corrected, and October priced again (“{events.REASON}”): the difference as well",
        events.UNTIL: "the files are written",
    }
    return [(f"{moment:%Y-%m-%d %H:%M}", moments[moment]) for moment in sorted(moments)]


def _totals(made: Statement) -> str:
    total = made.amounts
    amounts = (total.cost_nano, total.subsidy_nano, total.charge_nano, made.correction_amounts.charge_nano)
    return f"| {made.number} | {' | '.join(f'{made.currency} {exact(amount)}' for amount in amounts)} |"
