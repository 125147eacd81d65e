"""`commonwatt dashboards build|push|verify`: the dashboards as files, on a live Grafana, and proved there."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from compose.options import MaybeConfig, Mistake, console, seconds

if TYPE_CHECKING:
    from compose.grafana.push import Change
    from compose.grafana.verify import Result
    from dashboards.grafana.sources import Source
    from schemas.config_alerts import Alerts

group = typer.Typer(help="Grafana dashboards and alert rules, from the panel definitions.", no_args_is_help=True)

UrlOption = Annotated[
    str,
    typer.Option("--url", envvar="GRAFANA_URL", help="http://grafana:3000; credentials: GRAFANA_TOKEN, or "
                 "GRAFANA_USER and GRAFANA_PASSWORD", show_default=False),
]  # fmt: skip
RolesOption = Annotated[
    list[str] | None,
    typer.Option("--role", help="only what is for finance, operations or analysts; may be repeated",
                 show_default=False),
]  # fmt: skip
_SHOWN_PATHS = 6


@group.command(epilog="Example: commonwatt dashboards build --folder ./grafana")
def build(
    folder: Annotated[Path, typer.Option(help="where to write the files")] = Path("dashboards"),
    config: MaybeConfig = None,
) -> None:
    """Write dashboards, data sources and alert rules as files that Grafana reads."""
    from dashboards.generate import grafana_files, write

    try:
        written = write(grafana_files(_alerts(config)), folder)
    except OSError as error:
        raise Mistake(f"{folder} cannot be written ({error.strerror}): name another --folder.") from error
    for path in written:
        console.print(str(path), soft_wrap=True)


@group.command(epilog="Example: commonwatt dashboards push --url https://grafana.example --clickhouse clickhouse:9000")
def push(
    url: UrlOption,
    clickhouse: Annotated[
        str | None,
        typer.Option(help="HOST:9000 as Grafana reaches it, HOST:9440 with TLS; default: CLICKHOUSE_HOST",
                     show_default=False),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="uid of the folder to put ours into; default: the top", show_default=False)
    ] = None,
    role: RolesOption = None,
    config: MaybeConfig = None,
    editable: Annotated[
        bool, typer.Option("--editable", help="alert rules can be edited in Grafana; the next push undoes that")
    ] = False,
    renew_passwords: Annotated[
        bool, typer.Option("--renew-passwords", help="write the passwords of data sources anew")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would change, and write nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="write without asking")] = False,
) -> None:  # fmt: skip
    """Bring folders, data sources, dashboards and alert rules to a Grafana."""
    from compose.grafana import push as pushing
    from compose.grafana.connection import Grafana
    from compose.grafana.wanted import place

    options = pushing.Options(place(clickhouse), _alerts(config), _sources(role), folder, editable, renew_passwords)
    changes = pushing.plan(Grafana(url), options)
    console.print(_changes(changes))
    due = sum(change.write is not None for change in changes)
    if due == 0:
        console.print("nothing to change")
    elif dry_run:
        console.print("dry run: nothing was written")
    elif not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        console.print("nothing was written: add --yes to write it")
    elif yes or typer.confirm("Write this?"):
        for change in pushing.write(changes):
            console.print(f"written: {change.kind} {change.name}", highlight=False, markup=False)
    else:
        console.print("nothing was written")


@group.command(epilog="Example: commonwatt dashboards verify --url https://grafana.example --range 7d")
def verify(
    url: UrlOption,
    range_: Annotated[str, typer.Option("--range", help="how far back dashboards look, such as 24h or 30d")] = "24h",
    source: Annotated[
        str | None,
        typer.Option("--source", help="uid of one data source for all; default: each one's own", show_default=False),
    ] = None,
    role: RolesOption = None,
    config: MaybeConfig = None,
    all_: Annotated[bool, typer.Option("--all", help="list what is right, too")] = False,
) -> None:
    """Run every query of every dashboard and alert rule on a live Grafana; exit 1 when one fails."""
    from compose.grafana import verify as proof
    from compose.grafana.connection import Grafana

    range_s, sources = seconds(range_), _sources(role)
    grafana, now_ms = Grafana(url), int(time.time() * 1000)
    results = list(proof.health(grafana, [source] if source else [one.uid for one in sources]))
    for question in proof.questions(now_ms, range_s, _alerts(config), sources, source):
        results.append(proof.ask(grafana, question))
    shown = [result for result in results if all_ or result.state != "ok"]
    if shown:
        console.print(_results(shown))
    counts = {state: sum(result.state == state for result in results) for state in ("ok", "empty", "failed")}
    slowest = max(results, key=lambda result: result.took_ms)
    console.print(
        f"{counts['ok']} ok, {counts['empty']} empty, {counts['failed']} failed; slowest: {slowest.place}, "
        f"{slowest.name}, {slowest.took_ms:.0f} ms",
        highlight=False,
        markup=False,
    )
    raise typer.Exit(1 if counts["failed"] else 0)


def _sources(roles: list[str] | None) -> "tuple[Source, ...]":
    """Data sources of these roles; of all when none is named. Raises Mistake."""
    from compose.grafana.selection import BY_ROLE

    for role in roles or ():
        if role not in BY_ROLE:
            raise Mistake(f'--role "{role}" is not known: use {", ".join(BY_ROLE)}.')
    return tuple(BY_ROLE[role] for role in roles or BY_ROLE)


def _alerts(config: Path | None) -> "Alerts":
    """Thresholds of alert rules."""
    from schemas.config_alerts import Alerts
    from schemas.config_file import load

    return load(config).alerts if config else Alerts()


def _changes(changes: "list[Change]") -> Table:
    table = _table("", "object", "name", "differs in")
    for change in changes:
        paths = [*change.paths[:_SHOWN_PATHS]]
        if len(change.paths) > _SHOWN_PATHS:
            paths.append(f"… and {len(change.paths) - _SHOWN_PATHS} more")
        table.add_row(*(Text(cell) for cell in (change.state, change.kind, change.name, "\n".join(paths))))
    return table


def _results(results: "list[Result]") -> Table:
    table = _table("", "where", "what", "rows", "ms", "reason")
    for result in results:
        cells = (result.state, result.place, result.name, str(result.rows), f"{result.took_ms:.0f}", result.failed)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
