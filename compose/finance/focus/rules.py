"""The specification's rules on single rows, as data: an id, the rule in words, and where it is broken.

A rule that names a column which a file does not have is not asked; whether a column has to be there is a rule of its
own (:mod:`.conformance`). Everything works on whole columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from compose.finance.focus.columns import SUBCATEGORIES

Mask = Any
"""Where a rule is broken: a boolean Arrow array; null = not."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the specification on the rows of a dataset."""

    id: str
    text: str
    columns: tuple[str, ...]
    broken: Callable[..., Mask]
    """Takes the columns in that order."""


# ---- how rules are built ---------------------------------------------------------------------------------------------


def _null(values: Any) -> Mask:
    return pc.is_null(values)


def _given(values: Any) -> Mask:
    return pc.is_valid(values)


def _all(*masks: Mask) -> Mask:
    result = masks[0]
    for mask in masks[1:]:
        result = pc.and_kleene(result, mask)
    return result


def _is(values: Any, *wanted: str) -> Mask:
    return pc.is_in(values, value_set=pa.array(wanted, pa.string()))


def _together(one: str, other: str) -> Rule:
    return Rule(
        f"{one}-with-{other}", f"{one} is null exactly where {other} is", (one, other),
        lambda a, b: pc.xor(_null(a), _null(b)),
    )  # fmt: skip


def _needs(one: str, other: str) -> Rule:
    return Rule(
        f"{one}-needs-{other}", f"{one} is null where {other} is", (one, other),
        lambda a, b: _all(_given(a), _null(b)),
    )  # fmt: skip


def _priced(column: str) -> tuple[Rule, Rule]:
    return (
        Rule(
            f"{column}-of-usage", f"{column} is not null on Usage and Purchase rows that correct nothing",
            (column, "ChargeCategory", "ChargeClass"),
            lambda a, category, klass: _all(_null(a), _is(category, "Usage", "Purchase"), _null(klass)),
        ),
        Rule(
            f"{column}-of-tax", f"{column} is null on Tax rows", (column, "ChargeCategory"),
            lambda a, category: _all(_given(a), _is(category, "Tax")),
        ),
    )  # fmt: skip


def _as_billed(column: str) -> Rule:
    return Rule(
        f"{column}-of-credit", f"{column} equals BilledCost on Credit rows", (column, "BilledCost", "ChargeCategory"),
        lambda a, billed, category: _all(pc.not_equal(a, billed), _is(category, "Credit")),
    )  # fmt: skip


def _currency(column: str) -> Rule:
    return Rule(
        f"{column}-format", f"{column} is a code of ISO 4217", (column,),
        lambda a: pc.invert(pc.match_substring_regex(a, "^[A-Z]{3}$")),
    )  # fmt: skip


def _before(start: str, end: str) -> Rule:
    return Rule(
        f"{end}-after-start", f"{end} is after {start}", (start, end), lambda a, b: pc.greater_equal(a, b)
    )  # fmt: skip


_PARENTS = pa.array([f"{child}/{parent}" for child, parent in SUBCATEGORIES.items()])

COST_AND_USAGE: Sequence[Rule] = (
    _currency("BillingCurrency"),
    _currency("PricingCurrency"),
    _before("BillingPeriodStart", "BillingPeriodEnd"),
    _before("ChargePeriodStart", "ChargePeriodEnd"),
    Rule(
        "ChargePeriod-in-billing-period", "the charge period lies in the billing period, but for corrections",
        ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd", "ChargeClass"),
        lambda start, end, first, last, klass: _all(
            pc.or_kleene(pc.less(start, first), pc.greater(end, last)), _null(klass)
        ),
    ),
    Rule(
        "ChargeClass-of-earlier-period", "a correction is of a charge period before the billing period",
        ("ChargePeriodEnd", "BillingPeriodStart", "ChargeClass"),
        lambda end, first, klass: _all(pc.greater(end, first), _given(klass)),
    ),
    Rule(
        "ChargeFrequency-of-purchase", "ChargeFrequency is not Usage-Based on Purchase rows",
        ("ChargeFrequency", "ChargeCategory"),
        lambda a, category: _all(_is(a, "Usage-Based"), _is(category, "Purchase")),
    ),
    Rule(
        "ConsumedQuantity-of-usage", "ConsumedQuantity is not null on Usage rows that correct nothing",
        ("ConsumedQuantity", "ChargeCategory", "ChargeClass"),
        lambda a, category, klass: _all(_null(a), _is(category, "Usage"), _null(klass)),
    ),
    Rule(
        "ConsumedQuantity-of-others", "ConsumedQuantity is null on rows that are not Usage",
        ("ConsumedQuantity", "ChargeCategory"),
        lambda a, category: _all(_given(a), pc.invert(_is(category, "Usage"))),
    ),
    _together("ConsumedUnit", "ConsumedQuantity"),
    _needs("ConsumedQuantity", "SkuPriceId"),
    *_priced("PricingQuantity"),
    _together("PricingUnit", "PricingQuantity"),
    _needs("PricingQuantity", "SkuPriceId"),
    *_priced("SkuId"),
    *_priced("SkuPriceId"),
    _needs("SkuMeter", "SkuId"),
    _needs("SkuPriceDetails", "SkuPriceId"),
    *_priced("PricingCategory"),
    _needs("PricingCategory", "SkuPriceId"),
    _as_billed("EffectiveCost"),
    _as_billed("ContractedCost"),
    _as_billed("ListCost"),
    Rule(
        "EffectiveCost-of-usage", "EffectiveCost equals BilledCost where nothing was paid upfront (here: always)",
        ("EffectiveCost", "BilledCost"), lambda a, billed: pc.not_equal(a, billed),
    ),
    Rule(
        "BilledCost-of-credit", "a Credit that corrects nothing is not positive",
        ("BilledCost", "ChargeCategory", "ChargeClass"),
        lambda a, category, klass: _all(pc.greater(pc.sign(a), 0), _is(category, "Credit"), _null(klass)),
    ),
    _together("ResourceType", "ResourceId"),
    _needs("ResourceName", "ResourceId"),
    _together("RegionName", "RegionId"),
    _needs("SubAccountName", "SubAccountId"),
    _together("SubAccountType", "SubAccountId"),
    _together("InvoiceDetailId", "InvoiceId"),
    _needs("CommitmentDiscountStatus", "CommitmentDiscountId"),
    _needs("CommitmentDiscountType", "CommitmentDiscountId"),
    _needs("CommitmentDiscountCategory", "CommitmentDiscountId"),
    _needs("AllocatedResourceId", "AllocatedMethodId"),
    _needs("AllocatedMethodDetails", "AllocatedMethodId"),
    _needs("AllocatedTags", "AllocatedMethodId"),
    _together("AllocatedResourceName", "AllocatedResourceId"),
    Rule(
        "ServiceSubcategory-of-category", "ServiceSubcategory belongs to the ServiceCategory",
        ("ServiceSubcategory", "ServiceCategory"),
        lambda a, category: pc.invert(
            pc.is_in(pc.binary_join_element_wise(a, category, "/"), value_set=_PARENTS)
        ),
    ),
)  # fmt: skip

BILLING_PERIOD: Sequence[Rule] = (
    _before("BillingPeriodStart", "BillingPeriodEnd"),
    Rule(
        "BillingPeriodLastUpdated-order", "BillingPeriodLastUpdated is not before BillingPeriodCreated",
        ("BillingPeriodLastUpdated", "BillingPeriodCreated"), lambda a, b: pc.less(a, b),
    ),
)  # fmt: skip
