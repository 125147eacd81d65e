"""`commonwatt settle`, `rerate`, `whatif`: the commands that price hours. What they do is in the modules beside."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compose.finance.moments import hour
from compose.options import (
    ClickHouseOption,
    DataOption,
    MaybeConfig,
    MetricsOption,
    Mistake,
    UserOption,
    console,
    log_to_stderr,
    seconds,
    until_signalled,
)
from schemas.config_file import load

if TYPE_CHECKING:
    from compose.finance.effects import Effect

pricing = typer.Typer()

FromOption = Annotated[str, typer.Option("--from", help="first hour, such as 2026-10-01", show_default=False)]
ToOption = Annotated[
    str, typer.Option("--to", help="end, exclusive: 2026-10-31T12; a day counts whole: 2026-10-31", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="as JSON, exact amounts as text")]


@pricing.command(epilog="Example: commonwatt settle --data ./commonwatt-data")
def settle(
    everything: Annotated[
        bool, typer.Option("--everything", help="look for late data in all of history, not only in the last days")
    ] = False,
    running: Annotated[
        bool, typer.Option("--running", help="price the hour that has not ended as well, as far as it has come")
    ] = False,
    every: Annotated[str | None, typer.Option(help="repeat until stopped, such as 1m", show_default=False)] = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
    user: UserOption = "default",
    metrics: MetricsOption = None,
) -> None:
    """Price the hours that have ended, make older ones final, close months that are over."""
    import asyncio

    from compose.access import book
    from compose.finance import forecast, settle_role
    from compose.finance.lease import held
    from compose.finance.settle import LOOKED_BACK
    from compose.finance.settle import settle as run
    from compose.metrics import served
    from compose.rollup import roll_up

    settings = load(config) if config else None
    if every is not None:
        every_s = seconds(every)
        log_to_stderr()
        with served(metrics), book(data, settings, url=clickhouse, user=user) as client:
            asyncio.run(until_signalled(lambda stop: settle_role.watch(client, every_s=every_s, stop=stop)))
        return
    with book(data, settings, url=clickhouse, user=user) as client, held(client) as lease:
        look_back = None if everything else LOOKED_BACK
        outcome = run(client, look_back=look_back, running=running, lease=lease)
        outcome.rolled_up = roll_up(client, lease)
        forecast.write(client)
    console.print(settle_role.in_words(outcome), soft_wrap=True)


@pricing.command(
    epilog='Example: commonwatt rerate --from 2026-10-01 --to 2026-10-31 --reason "tariff of October corrected"'
)
def rerate(
    from_: FromOption,
    to: ToOption,
    reason: Annotated[str, typer.Option(help="why; stands on every entry that it writes", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="write without asking")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
    user: UserOption = "default",
) -> None:
    """Price history again under today's reference data; shows the effect before it writes."""
    from compose.access import book
    from compose.finance import effects, rerate
    from compose.finance.lease import held
    from compose.rollup import roll_up

    start, end = _span(from_, to)
    if not reason.strip():
        raise Mistake("--reason is empty: say why history is priced again, for whoever reads the charges later.")
    with book(data, load(config) if config else None, url=clickhouse, user=user) as client, held(client) as lease:
        found = effects.effects(rerate.preview(client, start, end, reason))
        _show(found, f"What pricing {from_} to {to} again changes", as_json)
        if not any(effect.changes for effect in found):
            return
        if not yes:
            if as_json or not sys.stdin.isatty():
                console.print("nothing was written: add --yes to write it.")
                return
            if not typer.confirm("Write these corrections?"):
                raise typer.Exit(1)
        lease.hold()
        outcome = rerate.rerate(client, start, end, reason, lease=lease)
        roll_up(client, lease)
    console.print(f"hours priced: {outcome.hours}, entries written: {outcome.entries}.")


@pricing.command(epilog="Example: commonwatt whatif cheaper-power.toml --from 2026-10-01 --to 2026-10-31")
def whatif(
    files: Annotated[list[Path], typer.Argument(help="reference data that differ (TOML)", show_default=False)],
    from_: FromOption,
    to: ToOption,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
    user: UserOption = "default",
) -> None:
    """What the same usage would cost, and who would pay, under other prices, PUE or rules. Writes nothing."""
    from compose.access import book
    from compose.finance import effects, rerate
    from compose.reference.apply import overlay

    start, end = _span(from_, to)
    with book(data, load(config) if config else None, url=clickhouse, user=user) as client:
        found = effects.effects(rerate.what_if(client, start, end, lambda known: overlay(known, files)))
    _show(found, f"What {', '.join(file.name for file in files)} would change from {from_} to {to}", as_json)


def _span(from_: str, to: str) -> tuple[datetime, datetime]:
    start, end = hour(from_, "--from"), hour(to, "--to", end_of_day=True)
    if start >= end:
        raise Mistake(f"--from {from_} is not before --to {to}: exchange them.")
    return start, end


def _show(found: "Sequence[Effect]", title: str, as_json: bool) -> None:
    from compose.finance import effects

    if as_json:
        sys.stdout.write(json.dumps(effects.as_records(found), indent=2) + "\n")
    elif any(effect.changes for effect in found):
        console.print(effects.as_table(found, title))
    else:
        console.print("nothing changes.")
