"""A statement in words: facts, key figures and sections, in one language. Pure."""

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction

from compose.finance.statement import terms
from compose.finance.statement.blocks import Block, Code, Column, Document, Paragraph, Section, Table
from compose.finance.statement.cents import Cents, balance
from compose.finance.statement.model import Line, Statement, utc
from compose.finance.statement.typography import (
    Language,
    apostrophes,
    cents,
    day,
    moment,
    money,
    month,
    number,
    percent,
    plain,
)
from compose.finance.statement.typography import rounded as rounded_number
from compose.finance.statement.words import Words
from schemas.money import NANO

HOUR_NANO = 3600 * NANO
MJ_PER_KWH = 3_600_000_000


def document(statement: Statement, language: Language) -> Document:
    """The whole statement in one language."""
    writer = _Writer(statement, Words(language))
    return Document(
        language=language,
        title=f"{writer.words('statement')} – {month(statement.month, language)}",
        subtitle=apostrophes(statement.agreement.recipient),
        number=statement.number,
        made_at=statement.recorded_until,
        facts=writer.facts(),
        figures=writer.figures(),
        sections=[section for section in writer.sections() if section.blocks],
        words=writer.words,
    )


def programme_name(statement: Statement, language: Language) -> str:
    """In that language, if it has one."""
    return statement.programme.name.get(language, statement.programme.id)


def status(statement: Statement, words: Words) -> str:
    """Open or closed, in words."""
    if statement.closed_at is None:
        return words("open")
    return words("closed", moment=day(statement.closed_at.date(), words.language))


class _Writer:
    """What the parts of one document have in common."""

    def __init__(self, statement: Statement, words: Words) -> None:
        self.statement = statement
        self.words = words
        self.language = words.language

    # ---- head --------------------------------------------------------------------------------------------------------

    def facts(self) -> list[tuple[str, str]]:
        statement, words = self.statement, self.words
        agreement = statement.agreement
        term = words(
            "agreement_term", id=agreement.id, starts=self._day(agreement.starts), ends=self._day(agreement.ends)
        )
        last = statement.ends - timedelta(days=1)
        return [
            (words("number"), f"{statement.number}, {words('edition', edition=statement.edition)}"),
            (words("recipient"), apostrophes(agreement.recipient)),
            (words("programme"), apostrophes(programme_name(statement, self.language))),
            (words("agreement"), term),
            (words("period"), words("period_days", first=self._day(statement.month), last=self._day(last)) + " (UTC)"),
            (words("status"), status(statement, words)),
            (words("recorded_until"), moment(statement.recorded_until, self.language)),
            (words("rule"), terms.rule(agreement, statement.programme, words)),
            (words("currency"), statement.currency),
        ]

    def figures(self) -> list[tuple[str, str]]:
        statement, words, total = self.statement, self.words, self.statement.cents
        found = [
            (words("cost"), self._money(total.cost)),
            (words("programme_pays"), self._money(total.subsidy)),
            (words("relief" if statement.agreement.after else "recipient_pays"), self._money(total.charge)),
        ]
        if statement.cap_nano is not None:
            found.append((words("remaining"), self._money(balance(statement.cap_nano) - statement.spent_cents)))
        return found

    # ---- sections ----------------------------------------------------------------------------------------------------

    def sections(self) -> list[Section]:
        words = self.words
        return [
            Section(words("usage"), self._usage()),
            Section(words("corrections"), self._corrections()),
            Section(words("total"), self._total(), whole=True),
            Section(words("spent"), [self._spent()], whole=True),
            Section(words("support"), self._support(), whole=True),
            Section(words("evidence"), self._evidence(), whole=True),
            Section(words("changes"), self._changes()),
            Section(words("verify"), self._proof(), whole=True),
        ]

    def _usage(self) -> list[Block]:
        statement, words = self.statement, self.words
        if not statement.lines:
            return [Paragraph(words("no_usage" if statement.corrections else "nothing"))]
        rows = [
            [*self._labels(line), *self._quantities(line), *self._amounts(cents)]
            for line, cents in zip(statement.lines, statement.line_cents, strict=True)
        ]
        total = [words("total_usage"), *[""] * 10, *self._amounts(statement.subtotals[0])]
        table = _filled(Table([*self._label_columns(), *self._amount_columns()], rows, [total]))
        return [table, Paragraph(words("cents"))]

    def _corrections(self) -> list[Block]:
        statement, words = self.statement, self.words
        if not statement.corrections:
            return []
        rows = [
            [
                self._hours(line.first, line.end),
                apostrophes(terms.reason(line.reason, words)),
                *self._labels(line),
                *self._quantities(line),
                *self._amounts(cents),
            ]
            for line, cents in zip(statement.corrections, statement.correction_cents, strict=True)
        ]
        total = [words("total_corrections"), *[""] * 12, *self._amounts(statement.subtotals[1])]
        what = words("what")
        columns = [Column(words("period"), stack=what), Column(words("reason"), stack=what), *self._label_columns()]
        table = _filled(Table([*columns, *self._amount_columns()], rows, [total]))
        return [Paragraph(words("corrections_text")), table]

    def _total(self) -> list[Block]:
        statement, words = self.statement, self.words
        if not statement.corrections:
            return []  # it stands below the usage already
        usage, corrections = statement.subtotals
        rows = [
            [words("total_usage"), *self._amounts(usage)],
            [words("total_corrections"), *self._amounts(corrections)],
        ]
        total = [words("total"), *self._amounts(statement.cents)]
        return [Table([Column(words("what")), *self._amount_columns()], rows, [total])]

    def _spent(self) -> Table:
        statement, words = self.statement, self.words
        rows = [
            (words("spent_before"), self._money(statement.spent_before_cents)),
            (words("spent_month"), self._money(statement.cents.subsidy)),
            (words("spent_total"), self._money(statement.spent_cents)),
        ]
        if statement.cap_nano is not None:
            rows += [
                (words("cap"), self._money(balance(statement.cap_nano))),
                (words("remaining"), self._money(balance(statement.cap_nano) - statement.spent_cents)),
                (words("used_share"), percent(statement.spent_nano, statement.cap_nano, self.language)),
            ]
        if statement.planned_nano is not None:
            rows.append((words("planned"), self._money(balance(statement.planned_nano))))
        if statement.granted_nano is not None:
            rule = statement.agreement.rule
            unit = words("rgu_hours" if rule.kind == "credits" and rule.unit == "rgu_hours" else "gpu_hours")
            granted, used = statement.granted_nano, statement.granted_used_nano
            rows += [
                (f"{words(key)} ({unit})", rounded_number(Fraction(value, HOUR_NANO), self.language, 2))
                for key, value in (("granted", granted), ("granted_used", used), ("granted_left", granted - used))
            ]
        return Table([Column(words("what")), Column(words("amount"), figure=True)], rows)

    def _support(self) -> list[Block]:
        statement, words = self.statement, self.words
        if not statement.support:
            return []
        rows, total = [], Cents(0, 0)
        for one in statement.support:
            rows.append([one.agreement.id, *self._amounts(one.cents)])
            total = Cents(total.cost + one.cents.cost, total.subsidy + one.cents.subsidy)
        blocks: list[Block] = [
            Paragraph(words("support_text", charge=self._money(total.charge))),
            Table(
                [Column(words("agreement")), *self._amount_columns()], rows, [[words("total"), *self._amounts(total)]]
            ),
        ]
        if statement.agreement.after:
            blocks.append(Paragraph(words("after_text", after=statement.agreement.after)))
        return blocks

    def _evidence(self) -> list[Block]:
        statement, words, used = self.statement, self.words, self.statement.used
        if not statement.lines:
            return []
        total_hours = statement.final_hours + statement.provisional_hours
        hours = words(
            "hours_text",
            hours=number(total_hours, self.language),
            final=number(statement.final_hours, self.language),
            provisional=number(statement.provisional_hours, self.language),
        )
        blocks: list[Block] = [Paragraph(hours), Paragraph(words("evidence_text"))]
        if used.gpu_seconds_nano:
            shares = (
                ("counter", used.counter_seconds_nano),
                ("integrated", used.integrated_seconds_nano),
                ("bridged", used.bridged_seconds_nano),
                ("unmeasured", used.unmeasured_seconds_nano),
            )
            rows = [[words(key), percent(part, used.gpu_seconds_nano, self.language)] for key, part in shares]
            blocks.append(Table([Column(words("method")), Column(words("of_gpu_time"), figure=True)], rows))
        if statement.coverage:
            columns = [Column(words("cluster")), Column(words("hours"), True), Column(words("coverage"), True)]
            rows = [
                [
                    one.cluster,
                    number(one.hours, self.language),
                    percent(one.observed_seconds_nano, one.expected_seconds_nano, self.language),
                ]
                for one in statement.coverage
            ]
            blocks.append(Table(columns, rows))
        return blocks

    def _changes(self) -> list[Block]:
        statement, words = self.statement, self.words
        if not statement.changes:
            return [Paragraph(words("no_changes"))] if statement.lines else []
        columns = [
            Column(words("recorded"), stack=words("what")), Column(words("kind"), stack=words("what")),
            Column(words("reason"), stack=words("what")), Column(words("period"), stack=words("what")),
            Column(words("hours_changed"), figure=True),
        ]  # fmt: skip
        rows = [
            [
                moment(change.recorded_at, self.language),
                words(f"kind_{change.kind}"),
                apostrophes(terms.reason(change.reason, words)),
                self._hours(change.first, change.end),
                number(change.hours, self.language),
                # Exact: beside lines that were rounded so as to add up, cents could contradict.
                *(plain(Fraction(nano, NANO), self.language, 9) for nano in change.amounts.each),
            ]
            for change in statement.changes
        ]
        return [Table([*columns, *self._amount_columns()], rows)]

    def _proof(self) -> list[Block]:
        statement, words = self.statement, self.words
        again = f"commonwatt statement {statement.agreement.id} --month {statement.month:%Y-%m}"
        cost, subsidy, charge = (self._exact(nano) for nano in statement.amounts.each)
        return [
            Paragraph(words("exact_totals", cost=cost, subsidy=subsidy, charge=charge)),
            Paragraph(words("verify_totals")),
            Code(f'commonwatt sql "{statement.totals_query}"'),
            Paragraph(words("verify_again")),
            Code(f"{again} --language {self.language} --as-of {utc(statement.recorded_until)}"),
            Paragraph(words("verify_book")),
            Code("commonwatt check"),
            Paragraph(words("verify_digest")),
            Code(statement.digest),
            Paragraph(words("edition_text")),
        ]

    # ---- cells -------------------------------------------------------------------------------------------------------

    def _label_columns(self) -> list[Column]:
        words = self.words
        labels = ("deployment", "cluster", "model", "sku", "line_rule", "price")
        quantities = ("gpu_hours", "kwh", "prompt", "cached", "output")
        return [
            *(Column(words(key), stack=words("what")) for key in labels),
            *(Column(words(key), figure=True, stack=words("usage")) for key in quantities),
        ]

    def _labels(self, line: Line) -> list[str]:
        rule = terms.line_rule(line.rule, self.words)
        device = line.sku or self.words("no_device")
        return [line.deployment or self._workload(line.workload), line.cluster, line.model, device, rule,
                line.price_version]  # fmt: skip

    def _workload(self, workload: str) -> str:
        """A batch job is a bare number, with an underscore in an array of jobs."""
        is_job = re.fullmatch(r"\d+(_\d+)?", workload)
        return self.words("job", job=workload) if is_job else workload or "–"

    def _quantities(self, line: Line) -> list[str]:
        """Nothing where there is none: a line has devices, or tokens, or both."""
        usage = line.usage
        whole = [number(count, self.language) if count else "" for count in _tokens(line)]
        hours = rounded_number(Fraction(usage.gpu_seconds_nano, HOUR_NANO), self.language, 2)
        kwh = rounded_number(Fraction(usage.energy_mj, MJ_PER_KWH), self.language, 2)
        return [hours if usage.gpu_seconds_nano else "", kwh if usage.energy_mj else "", *whole]

    def _amount_columns(self) -> list[Column]:
        return [Column(self.words(key), figure=True) for key in ("cost", "programme_pays", "recipient_pays")]

    def _amounts(self, amounts: Cents) -> list[str]:
        return [number(value, self.language, 2) for value in (amounts.cost, amounts.subsidy, amounts.charge)]

    def _money(self, value: int) -> str:
        return cents(value, self.statement.currency, self.language)

    def _exact(self, nano: int) -> str:
        written = plain(Fraction(nano, NANO), self.language, 9)
        return money(written, self.statement.currency, self.language)

    def _day(self, value: date) -> str:
        return day(value, self.language)

    def _hours(self, first: datetime, end: datetime) -> str:
        """From the first day to the last one that they touch."""
        last = (end - timedelta(milliseconds=1)).date()
        if first.date() == last:
            return self._day(last)
        return self.words("period_days", first=self._day(first.date()), last=self._day(last))


def _filled(table: Table) -> Table:
    """Without the columns in which nothing stands."""
    kept = [number for number in range(len(table.columns)) if any(row[number] for row in table.rows)]
    rows, totals = ([[row[number] for number in kept] for row in part] for part in (table.rows, table.totals))
    return Table([table.columns[number] for number in kept], rows, totals)


def _tokens(line: Line) -> Iterable[int]:
    return line.usage.prompt_tokens, line.usage.cached_tokens, line.usage.generation_tokens
