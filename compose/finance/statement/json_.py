"""A statement as JSON, for machines: names and numbers are the same in both languages, texts are in the one asked for.

Amounts are texts, exact (nine places) and as they are shown (to the cent).
"""

import json

from compose.finance.statement import terms
from compose.finance.statement.cents import Amounts, Cents, balance, total
from compose.finance.statement.csv_ import joules, shown
from compose.finance.statement.document import programme_name, status
from compose.finance.statement.model import Change, Line, Statement, Usage, exact, utc
from compose.finance.statement.typography import Language
from compose.finance.statement.words import Words


def as_json(statement: Statement, language: Language) -> str:
    """One object, ended by a newline."""
    words = Words(language)
    agreement, programme = statement.agreement, statement.programme
    content = {
        "number": statement.number,
        "edition": statement.edition,
        "language": language,
        "recipient": agreement.recipient,
        "programme": {"id": programme.id, "name": programme_name(statement, language)},
        "agreement": {"id": agreement.id, "starts": str(agreement.starts), "ends": str(agreement.ends)},
        "month": f"{statement.month:%Y-%m}",
        "status": "open" if statement.closed_at is None else "closed",
        "status_text": status(statement, words),
        "closed_at": None if statement.closed_at is None else utc(statement.closed_at),
        "recorded_until": utc(statement.recorded_until),
        "rule_text": terms.rule(agreement, programme, words),
        "currency": statement.currency,
        "total": _money(statement.amounts, statement.cents),
        "usage": {
            **_money(statement.usage_amounts, statement.subtotals[0]),
            "lines": [_line(*pair) for pair in zip(statement.lines, statement.line_cents, strict=True)],
        },
        "corrections": {
            **_money(statement.correction_amounts, statement.subtotals[1]),
            "lines": [
                {"reason": line.reason, **_line(line, cents)}
                for line, cents in zip(statement.corrections, statement.correction_cents, strict=True)
            ],
        },
        "spent": _spent(statement),
        "support": [
            {"agreement": one.agreement.id, "after": one.agreement.after, **_money(one.amounts, one.cents)}
            for one in statement.support
        ],
        "evidence": {
            "final_hours": statement.final_hours,
            "provisional_hours": statement.provisional_hours,
            "gpu_seconds_by_method": _methods(statement.used),
            "coverage": [
                {
                    "cluster": one.cluster,
                    "hours": one.hours,
                    "observed_seconds": exact(one.observed_seconds_nano),
                    "expected_seconds": exact(one.expected_seconds_nano),
                }
                for one in statement.coverage
            ],
        },
        "changes": [_change(change) for change in statement.changes],
        "verify": {
            "totals": statement.totals_query,
            "as_of": utc(statement.recorded_until),
        },
        "digest": {"algorithm": "sha256", "value": statement.digest, "rows": statement.digest_rows},
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _money(amounts: Amounts, cents: Cents) -> dict[str, object]:
    return {
        "cost": _amount(amounts.cost_nano, cents.cost),
        "subsidy": _amount(amounts.subsidy_nano, cents.subsidy),
        "charge": _amount(amounts.charge_nano, cents.charge),
    }


def _amount(nano: int, cents: int) -> dict[str, str]:
    return {"exact": exact(nano), "shown": shown(cents)}


def _line(line: Line, cents: Cents) -> dict[str, object]:
    usage = line.usage
    return {
        "first_hour": utc(line.first),
        "end": utc(line.end),
        "cluster": line.cluster,
        "deployment": line.deployment,
        "workload": line.workload,
        "model": line.model,
        "sku": line.sku,
        "rule": line.rule,
        "price_version": line.price_version,
        "gpu_seconds": exact(usage.gpu_seconds_nano),
        "energy_j": joules(usage.energy_mj),
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "generation_tokens": usage.generation_tokens,
        **_money(line.amounts, cents),
    }


def _spent(statement: Statement) -> dict[str, object]:
    cap, planned, granted = statement.cap_nano, statement.planned_nano, statement.granted_nano
    left = None if cap is None else _amount(cap - statement.spent_nano, balance(cap) - statement.spent_cents)
    return {
        "before": _amount(statement.spent_before_nano, statement.spent_before_cents),
        "in_month": _amount(statement.amounts.subsidy_nano, statement.cents.subsidy),
        "total": _amount(statement.spent_nano, statement.spent_cents),
        "cap": None if cap is None else _amount(cap, balance(cap)),
        "remaining": left,
        "planned": None if planned is None else _amount(planned, balance(planned)),
        "granted_seconds": None if granted is None else exact(granted),
        "granted_seconds_used": None if granted is None else exact(statement.granted_used_nano),
    }


def _methods(used: Usage) -> dict[str, str]:
    return {
        "counter": exact(used.counter_seconds_nano),
        "integrated": exact(used.integrated_seconds_nano),
        "bridged": exact(used.bridged_seconds_nano),
        "not_measured": exact(used.unmeasured_seconds_nano),
    }


def _change(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind,
        "reason": change.reason,
        "recorded_at": utc(change.recorded_at),
        "first_hour": utc(change.first),
        "end": utc(change.end),
        "hours": change.hours,
        **_money(change.amounts, total(change.amounts)),
    }
