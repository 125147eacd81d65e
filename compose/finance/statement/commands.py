"""`commonwatt statement`: the command. What it does is in the modules beside."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compose.finance.moments import AsOfOption, MonthOption, as_of, month_of
from compose.options import ClickHouseOption, DataOption, MaybeConfig, Mistake, console
from schemas.config_file import load

if TYPE_CHECKING:
    from compose.finance.statement.model import Statement
    from compose.finance.statement.typography import Language

group = typer.Typer()

FORMATS = ("markdown", "csv", "json", "pdf")
_ENDINGS = {"markdown": "md", "csv": "csv", "json": "json", "pdf": "pdf"}


@group.command("statement", epilog="Example: commonwatt statement acme-ai --month 2026-10 --format all --output .")
def statement_(
    month: MonthOption,
    agreement: Annotated[str | None, typer.Argument(help="id of the agreement", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="of every agreement")] = False,
    format_: Annotated[str, typer.Option("--format", help="markdown, csv, json, pdf or all")] = "markdown",
    language_: Annotated[str, typer.Option("--language", help="en or fr")] = "en",
    until: AsOfOption = None,
    output: Annotated[
        str | None, typer.Option("--output", help="folder for the files; - = the terminal", show_default=False)
    ] = None,
    data: DataOption = None,
    config: MaybeConfig = None,
    clickhouse: ClickHouseOption = None,
) -> None:
    """What an agreement used, cost and was paid for in a month, with its proof."""
    from compose.access import book
    from compose.finance.statement.reading import agreements, open_month, statement

    if (agreement is None) != all_:
        raise Mistake("name one agreement, or --all (not both).")
    if format_ not in (*FORMATS, "all"):
        raise Mistake(f'--format "{format_}" is not known: use markdown, csv, json, pdf or all.')
    if language_ not in ("en", "fr"):
        raise Mistake(f'--language "{language_}" is not known: use en or fr.')
    language: Language = "fr" if language_ == "fr" else "en"
    formats = FORMATS if format_ == "all" else (format_,)
    if output in (None, "-") and (all_ or len(formats) > 1):
        raise Mistake("several statements or formats are several files: name a folder with --output DIR.")
    if output is None and format_ == "pdf":
        raise Mistake("a PDF is not for the terminal: name a folder with --output DIR, or --output - for a pipe.")
    day, moment = month_of(month), as_of(until)
    with book(data, load(config) if config else None, url=clickhouse, user="analyst") as client:
        opened = open_month(client, day, moment)
        for name in agreements(opened) if agreement is None else [agreement]:
            made = statement(opened, name)
            for one in formats:
                content = _content(made, one, language)
                if output is None or output == "-":
                    sys.stdout.buffer.write(content)
                else:
                    file = Path(output) / f"statement-{name}-{day:%Y-%m}.{language}.{_ENDINGS[one]}"
                    _write(file, content)
                    console.print(str(file), soft_wrap=True, markup=False, highlight=False)


def _content(statement: "Statement", format_: str, language: "Language") -> bytes:
    """A statement in one format."""
    from compose.finance.statement.csv_ import as_csv
    from compose.finance.statement.document import document
    from compose.finance.statement.json_ import as_json
    from compose.finance.statement.markdown import markdown

    if format_ == "csv":
        return as_csv(statement).encode()
    if format_ == "json":
        return as_json(statement, language).encode()
    words = document(statement, language)
    if format_ == "markdown":
        return markdown(words).encode()
    from compose.finance.statement.pdf import pdf  # reads fonts: only for those who want it

    return pdf(words)


def _write(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise Mistake(f"{file} cannot be written ({error.strerror}): name another --output.") from error
