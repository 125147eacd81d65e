"""A statement as CSV, for machines: the same column names, points and commas in both languages.

Each amount stands exact (nine places) and as it is shown (`_shown`, to the cent). The rows are those of the sections
`usage` and `correction`, then one `total`.
"""

import csv
import io
from decimal import Decimal

from compose.finance.statement.cents import Amounts, Cents
from compose.finance.statement.model import Line, Statement, Usage, exact, utc

COLUMNS = (
    "statement", "edition", "section", "first_hour", "end", "reason", "cluster", "deployment", "workload", "model",
    "sku", "rule", "price_version", "gpu_seconds", "energy_j", "prompt_tokens", "cached_tokens", "generation_tokens",
    "cost", "subsidy", "charge", "cost_shown", "subsidy_shown", "charge_shown", "currency",
)  # fmt: skip


def as_csv(statement: Statement) -> str:
    """The rows, with a heading."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for section, lines, shown in (
        ("usage", statement.lines, statement.line_cents),
        ("correction", statement.corrections, statement.correction_cents),
    ):
        for line, cents in zip(lines, shown, strict=True):
            writer.writerow(_row(statement, section, _labels(line), line.usage, line.amounts, cents))
    whole = sum((line.usage for line in statement.corrections), statement.used)
    writer.writerow(_row(statement, "total", [""] * 10, whole, statement.amounts, statement.cents))
    return text.getvalue()


def shown(cents: int) -> str:
    """Hundredths as machines read them: -1234.56."""
    return format(Decimal(cents).scaleb(-2), "f")


def joules(energy_mj: int) -> str:
    """Three places."""
    return format(Decimal(energy_mj).scaleb(-3), "f")


def _labels(line: Line) -> list[str]:
    return [
        utc(line.first), utc(line.end), line.reason, line.cluster, line.deployment, line.workload, line.model, line.sku,
        line.rule, line.price_version,
    ]  # fmt: skip


def _row(
    statement: Statement, section: str, labels: list[str], usage: Usage, amounts: Amounts, cents: Cents
) -> list[str | int]:
    return [
        statement.number, statement.edition, section, *labels, exact(usage.gpu_seconds_nano), joules(usage.energy_mj),
        usage.prompt_tokens, usage.cached_tokens, usage.generation_tokens, exact(amounts.cost_nano),
        exact(amounts.subsidy_nano), exact(amounts.charge_nano), shown(cents.cost), shown(cents.subsidy),
        shown(cents.charge), statement.currency,
    ]  # fmt: skip
