"""`commonwatt quarantine list|show|replay`: the commands. What they do is in the modules beside."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from compose.options import (
    ClickHouseOption,
    ConfigOption,
    DataOption,
    KafkaOption,
    MaybeConfig,
    Mistake,
    console,
)
from schemas.config_file import load

group = typer.Typer(help="Messages that could not be read: list, explain, replay after a fix.", no_args_is_help=True)

ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="only where the reason, or its kind, contains this", show_default=False)
]
ClusterOption = Annotated[str | None, typer.Option("--cluster", help="only of this cluster", show_default=False)]


@group.command("list", epilog="Example: commonwatt quarantine list --open --cluster fir")
def list_(
    reason: ReasonOption = None,
    cluster: ClusterOption = None,
    open_: Annotated[bool, typer.Option("--open", help="only what was not replayed yet")] = False,
    format_: Annotated[str, typer.Option("--format", help="table, json or csv")] = "table",
    limit: Annotated[int, typer.Option(min=0, help="messages in the table, the newest; 0 = the summary alone")] = 50,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """What is in quarantine: how many messages for which reason, then the messages."""
    from compose.access import book
    from compose.quarantine import show
    from compose.quarantine.entries import select

    if format_ not in ("table", "json", "csv"):
        raise Mistake(f'--format "{format_}" is not known: use table, json or csv.')
    with book(data, load(config) if config else None, url=clickhouse) as client:
        entries = select(client, reason=reason, cluster=cluster, open_=open_)
    if format_ == "table":
        show.show_list(entries, console, limit)
    else:
        sys.stdout.write(show.as_csv(entries) if format_ == "csv" else show.as_json(entries) + "\n")


@group.command("show", epilog="Example: commonwatt quarantine show telemetry.gpu/3/1234 --save message.bin")
def show_(
    name: Annotated[str, typer.Argument(metavar="ID", help="name of the message, from the list", show_default=False)],
    save: Annotated[
        Path | None, typer.Option("--save", help="write the untouched content to this file", show_default=False)
    ] = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    kafka: KafkaOption = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """One message: where it came from, why it is here, what to do, and what this version makes of it."""
    import asyncio

    from compose.access import book
    from compose.quarantine import show, topic
    from compose.quarantine.entries import named
    from compose.quarantine.reading import read

    settings = load(config) if config else None
    with book(data, settings, url=clickhouse) as client:
        (entry,) = named(client, [name])
    with console.status("looking for the message in Kafka"):
        found = asyncio.run(topic.fetch(topic.kafka_of(data, settings, kafka), [entry]))
    put = found.get(entry)
    show.show_one(entry, put, None if put is None else read(entry, put), console)
    if save is None:
        return
    if put is None:
        raise Mistake(f"{name} cannot be saved: its content is no longer there.")
    try:
        save.write_bytes(put.value or b"")
    except OSError as error:
        raise Mistake(f"{save} cannot be written ({error.strerror}): name another file.") from error
    console.print(f"{entry.bytes:,} bytes written to {save}", soft_wrap=True)


@group.command(
    "replay", epilog="Example: commonwatt quarantine replay --all --reason schema --config my.toml --dry-run"
)
def replay_(
    config: ConfigOption,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="names of messages, from the list", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="every message, or those of --reason and --cluster")] = False,
    reason: ReasonOption = None,
    cluster: ClusterOption = None,
    again: Annotated[bool, typer.Option("--again", help="also what was replayed before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would happen, and do nothing")] = False,
    data: DataOption = None,
    kafka: KafkaOption = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """Count what can be read now: late samples fill what is missing in the ledger and change nothing that is there."""
    from compose.access import book
    from compose.quarantine.entries import named, select
    from compose.quarantine.replay import Replay
    from compose.quarantine.topic import kafka_of
    from compose.reference.history import effective

    if bool(names) == all_:
        raise Mistake("name messages to replay, or --all (not both): `commonwatt quarantine list` shows the names.")
    if names and (reason or cluster):
        raise Mistake("--reason and --cluster choose among --all: leave them out, or the names.")
    settings = load(config)
    with book(data, settings, url=clickhouse) as client:
        entries = named(client, names) if names else select(client, reason=reason, cluster=cluster, open_=not again)
        if not entries:
            console.print("nothing to replay")
            return
        url = kafka_of(data, settings, kafka)
        replayed = Replay(client, url, effective(client, settings), console).run(entries, again=again, dry_run=dry_run)
    raise typer.Exit(0 if replayed else 1)
