"""The files of the example, written by the functions behind `commonwatt statement`, `export`, `burn` and `pool`."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import date
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from rich.console import Console, RenderableType

from compose.finance import burn_report, burn_show, pool, pool_show
from compose.finance.focus.conformance import check
from compose.finance.focus.export import Format, describe, export
from compose.finance.focus.rows import Booked
from compose.finance.statement.csv_ import as_csv
from compose.finance.statement.document import document
from compose.finance.statement.json_ import as_json
from compose.finance.statement.markdown import markdown
from compose.finance.statement.model import Statement
from compose.finance.statement.pdf import pdf
from compose.finance.statement.reading import open_month, statement
from compose.finance.statement.typography import Language
from compose.reference.history import config_at
from tests.examples.events import NOVEMBER, OCTOBER, UNTIL
from tests.finance.focus.validator import WRONG_RULES, validate


class File(NamedTuple):
    """A file of the example, for its index."""

    name: str
    what: str
    command: str
    """Writes such a file from a book of one's own."""


class Shown(NamedTuple):
    """A statement that the example shows."""

    agreement: str
    month: date
    what: str
    formats: tuple[str, ...]
    """As `--format` takes them. Those for people are written in both languages."""


STATEMENTS = (
    Shown("northern-lights", OCTOBER, "the programme pays shares of the cost", ("markdown", "pdf", "csv", "json")),
    Shown("lumen-legal", OCTOBER, "the recipient pays a price per token", ("markdown", "json")),
    Shown("aurora-lab", OCTOBER, "the programme pays from a credit", ("markdown", "json")),
    Shown("northern-lights", NOVEMBER, "the open month, with corrections of October", ("markdown", "json")),
)
FOCUS_FORMATS: tuple[Format, ...] = ("csv", "parquet")
LANGUAGES: dict[Language, str] = {"en": "English", "fr": "French"}
MACHINES: Sequence[tuple[Language, str]] = (("en", "for machines"),)
ENDINGS = {"markdown": "md", "pdf": "pdf", "csv": "csv", "json": "json"}
CHECKED, VALIDATED, BURN, POOL = "focus-check.txt", "focus-validator.txt", "burn.txt", "pool-2026-10.txt"


def statement_file(shown: Shown, format_: str, language: Language = "en") -> str:
    """Name of a statement, as `commonwatt statement` gives it."""
    return f"statement-{shown.agreement}-{shown.month:%Y-%m}.{language}.{ENDINGS[format_]}"


def cost_and_usage(month: date, format_: str = "csv") -> str:
    """Name of a FOCUS file, as `commonwatt export focus` gives it."""
    return f"focus-1.4-cost-and-usage-{month:%Y-%m}.{format_}"


def write_statements(client: Client, folder: Path, statements: list[Statement]) -> Iterator[File]:
    """Write the statements into a folder; they are added to `statements`."""
    for shown in STATEMENTS:
        made = statement(open_month(client, shown.month, UNTIL), shown.agreement)
        statements.append(made)
        for format_ in shown.formats:
            for language, in_words in LANGUAGES.items() if format_ in ("markdown", "pdf") else MACHINES:
                name = statement_file(shown, format_, language)
                (folder / name).write_bytes(_in_format(made, format_, language))
                command = f"commonwatt statement {shown.agreement} --month {shown.month:%Y-%m} --format {format_}"
                if language != "en":
                    command += f" --language {language}"
                yield File(name, f"statement, {in_words}: {shown.what}", f"{command} --output .")


def write_focus(client: Client, folder: Path) -> Iterator[File]:
    """Write the FOCUS files, and what the conformance check says of them."""
    config, said = config_at(client, UNTIL), []
    for month, what in ((OCTOBER, "October"), (NOVEMBER, "November, with corrections of October")):
        for format_ in FOCUS_FORMATS:
            written = export(client, Booked(month, UNTIL, config), format_, folder)
            for (path, rows), dataset in zip(map(astuple, written), ("CostAndUsage", "BillingPeriod"), strict=True):
                broken = check(path)
                said.append(f"{path.name}: {f'{len(broken)} rules are broken' if broken else 'conforms'}")
                said += [f"  {each}" for each in broken]
                command = f"commonwatt export focus --month {month:%Y-%m} --format {format_}"
                yield File(path.name, f"FOCUS 1.4 {dataset} of {what}: {rows} rows", command)
        path = describe(month, folder)
        said.append(f"{path.name}: {'rules are broken' if check(path) else 'conforms'}")
        yield File(path.name, "FOCUS 1.4 metadata of these files: each column with its type", command)
    (folder / CHECKED).write_text("\n".join(said) + "\n")
    yield File(CHECKED, "whether they keep the rules of FOCUS 1.4", "commonwatt export focus-check focus-1.4-*")


def write_validated(folder: Path) -> Iterator[File]:
    """Write what the foundation's validator prints of the columns that it knows, and why that is no fault of ours."""
    said = [
        "focus-validator 1.0.0 knows FOCUS 1.0. It fails these of its checks on every file, correct ones included:",
        *(f"- {rule}: {why}" for rule, why in WRONG_RULES.items()),
        "On the columns that it knows, it fails nothing else. What it prints:",
    ]
    for month in (OCTOBER, NOVEMBER):
        name = cost_and_usage(month)
        failed, printed = validate(folder / name)
        assert failed.keys() <= WRONG_RULES.keys(), printed
        said += ["", f"==== {name} ====", "", printed.strip()]
    (folder / VALIDATED).write_text("\n".join(said) + "\n")
    command = f"python -m tests.finance.focus.validator {cost_and_usage(OCTOBER)}"
    yield File(VALIDATED, "what the FOCUS foundation's validator says of the columns that it knows", command)


def write_reports(client: Client, folder: Path) -> Iterator[File]:
    """Write the reports as a terminal shows them."""
    (folder / BURN).write_text(_printed(burn_show.as_tables(burn_report.report(client, UNTIL))))
    yield File(BURN, "what is spent against cap and plan, and how fast it burns", "commonwatt burn")
    (folder / POOL).write_text(_printed(pool_show.as_tables(pool.report(client, OCTOBER, UNTIL))))
    yield File(POOL, "who computed where in October, and the balance", f"commonwatt pool --month {OCTOBER:%Y-%m}")


def _in_format(made: Statement, format_: str, language: Language) -> bytes:
    match format_:
        case "csv":
            return as_csv(made).encode()
        case "json":
            return as_json(made, language).encode()
        case "pdf":
            return pdf(document(made, language))
        case _:
            return markdown(document(made, language)).encode()


def _printed(shown: RenderableType) -> str:
    """In 140 columns, without colours and trailing spaces."""
    text = io.StringIO()
    Console(file=text, width=140, color_system=None, force_terminal=False, legacy_windows=False).print(shown)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
