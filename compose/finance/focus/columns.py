"""The columns of our FOCUS 1.4 files as data: what the specification says of each, and what we fill it with.

Levels, types, nullability and allowed values are those of the specification's datasets *Cost and Usage* and *Billing
Period*. A conditional column is here when its condition holds for Commonwatt; those that are left out, and why, are in
:data:`LEFT_OUT`. Columns with the prefix ``x_`` are our own.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = "1.4"

Kind = Literal["String", "Decimal", "DateTime", "JSON"]
"""Decimal: nine places, `decimal128(38, 9)` in Parquet. DateTime: UTC. JSON: an object, as text."""
Level = Literal["Mandatory", "Conditional", "Recommended", "Custom"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset."""

    name: str
    kind: Kind
    level: Level
    nullable: bool
    source: str
    """What it is filled with, for the reader of docs/focus.md."""
    allowed: tuple[str, ...] = ()
    """Values that the specification allows; empty = any."""


USAGE, CREDIT = "Usage", "Credit"
CORRECTION = "Correction"
CHARGE_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
METHOD = "tokens-of-the-same-minute"
"""AllocatedMethodId: how the cost of a shared deployment is divided (documented in docs/focus.md)."""

SUBCATEGORIES = {
    "AI Platforms": "AI and Machine Learning",
    "Bots": "AI and Machine Learning",
    "Generative AI": "AI and Machine Learning",
    "Machine Learning": "AI and Machine Learning",
    "Natural Language Processing": "AI and Machine Learning",
    "Other (AI and Machine Learning)": "AI and Machine Learning",
    "Containers": "Compute",
    "End User Computing": "Compute",
    "Quantum Compute": "Compute",
    "Serverless Compute": "Compute",
    "Virtual Machines": "Compute",
    "Other (Compute)": "Compute",
}
"""ServiceSubcategory -> its ServiceCategory, of the two categories that compute is in."""

COST_AND_USAGE = (
    Column("AllocatedMethodDetails", "JSON", "Recommended", True,
           "of a shared deployment: the line's share of the hour's cost, nine places, and the tokens it follows from; "
           "null on corrections, where a share of a difference means nothing"),
    Column("AllocatedMethodId", "String", "Conditional", True,
           f"{METHOD} on usage of a shared deployment, what nobody asked for included", (METHOD,)),
    Column("AllocatedResourceId", "String", "Conditional", True,
           "agreement that this part of a shared deployment is for; null = the unallocated rest"),
    Column("AllocatedResourceName", "String", "Conditional", True, "its recipient"),
    Column("AllocatedTags", "JSON", "Conditional", True, "its agreement and programme"),
    Column("BilledCost", "Decimal", "Mandatory", False, "Usage: cost; Credit: minus the subsidy"),
    Column("BillingAccountId", "String", "Mandatory", False,
           "agreement; `operator/<cluster>` for what no agreement pays (idle, unattributed)"),
    Column("BillingAccountName", "String", "Mandatory", True, "recipient of the agreement, or operator of the cluster"),
    Column("BillingAccountType", "String", "Conditional", False, "Agreement, or Operator",
           ("Agreement", "Operator")),
    Column("BillingCurrency", "String", "Mandatory", False, "currency of the programme"),
    Column("BillingPeriodEnd", "DateTime", "Mandatory", False, "end of the month it is booked in, exclusive"),
    Column("BillingPeriodStart", "DateTime", "Mandatory", False, "start of the month it is booked in"),
    Column("ChargeCategory", "String", "Mandatory", False,
           "Usage: what was used, at its cost; Credit: what the programme pays of it", CHARGE_CATEGORIES),
    Column("ChargeClass", "String", "Mandatory", True,
           "Correction where the hour lies in an earlier month than the one it is booked in", (CORRECTION,)),
    Column("ChargeDescription", "String", "Mandatory", True,
           "in words: what was used, or what the programme pays of it; of a correction with its reason"),
    Column("ChargeFrequency", "String", "Recommended", False, "Usage-Based", ("One-Time", "Recurring", "Usage-Based")),
    Column("ChargePeriodEnd", "DateTime", "Mandatory", False, "end of the hour of the usage, exclusive"),
    Column("ChargePeriodStart", "DateTime", "Mandatory", False, "start of the hour of the usage"),
    Column("ConsumedQuantity", "Decimal", "Conditional", True,
           "Usage: GPU-hours of whole devices, nine places; tokens where no device served them"),
    Column("ConsumedUnit", "String", "Conditional", True, "GPU-Hours, or Tokens"),
    Column("ContractedCost", "Decimal", "Mandatory", False, "as BilledCost: nothing is negotiated"),
    Column("EffectiveCost", "Decimal", "Mandatory", False, "as BilledCost: nothing is paid upfront"),
    Column("HostProviderName", "String", "Mandatory", False, "operator of the cluster"),
    Column("InvoiceDetailId", "String", "Conditional", True, "`usage` or `credit`, cluster, SKU"),
    Column("InvoiceId", "String", "Conditional", True,
           "statement: `programme/agreement/YYYY-MM`; null for what no agreement pays"),
    Column("InvoiceIssuerName", "String", "Mandatory", False, "programme; operator for what no agreement pays"),
    Column("ListCost", "Decimal", "Mandatory", False, "as BilledCost: costs are measured, energy included"),
    Column("PricingCategory", "String", "Conditional", True, "Standard: at the price of the reference data",
           ("Standard", "Dynamic", "Committed", "Other")),
    Column("PricingCurrency", "String", "Conditional", False, "currency of the price"),
    Column("PricingCurrencyEffectiveCost", "Decimal", "Conditional", False, "the cost before it was exchanged"),
    Column("PricingQuantity", "Decimal", "Mandatory", True, "as ConsumedQuantity"),
    Column("PricingUnit", "String", "Mandatory", True, "as ConsumedUnit"),
    Column("RegionId", "String", "Conditional", True, "region of the cluster, else its country"),
    Column("RegionName", "String", "Conditional", True, "as RegionId"),
    Column("ResourceId", "String", "Conditional", True,
           "`<cluster>/<deployment>`, else `<cluster>/<workload>`, else `<cluster>/<SKU>`"),
    Column("ResourceName", "String", "Conditional", True, "deployment, workload, or SKU"),
    Column("ResourceType", "String", "Conditional", True, "Model Deployment, Workload, or GPU"),
    Column("ServiceCategory", "String", "Mandatory", False,
           "AI and Machine Learning where a model is served, else Compute", ("AI and Machine Learning", "Compute")),
    Column("ServiceName", "String", "Mandatory", False, "model, else GPU Compute"),
    Column("ServiceProviderName", "String", "Mandatory", False, "operator of the cluster"),
    Column("ServiceSubcategory", "String", "Recommended", False, "Generative AI, or Other (Compute)",
           tuple(SUBCATEGORIES)),
    Column("SkuId", "String", "Conditional", True, "GPU model, and profile of a slice; `tokens` without a device"),
    Column("SkuMeter", "String", "Conditional", True, "GPU Time, or Tokens"),
    Column("SkuPriceDetails", "JSON", "Conditional", True, "GpuCount and InstanceType of the SKU"),
    Column("SkuPriceId", "String", "Conditional", True,
           "`<SKU>/<price>[/<tariff>]`, without its effective date; `<SKU>/unpriced` where no price is known"),
    Column("SubAccountId", "String", "Conditional", True, "namespace of the workload"),
    Column("SubAccountName", "String", "Conditional", True, "as SubAccountId"),
    Column("SubAccountType", "String", "Conditional", True, "Namespace"),
    Column("Tags", "JSON", "Conditional", True, "cluster, and model"),
    Column("x_BusySeconds", "Decimal", "Custom", True, "device time with the compute engine active, s"),
    Column("x_CostCategory", "String", "Custom", False, "charged, idle or unattributed",
           ("charged", "idle", "unattributed")),
    Column("x_CoveragePct", "Decimal", "Custom", True, "how much of the cluster's hour was observed, %"),
    Column("x_EnergyJoules", "Decimal", "Custom", True, "GPU energy, J"),
    Column("x_GpuSeconds", "Decimal", "Custom", True, "device time, s of a whole device"),
    Column("x_MeasureMethod", "String", "Custom", True,
           "how the energy was measured: counter, integrated, bridged, or mixed",
           ("counter", "integrated", "bridged", "mixed")),
    Column("x_PriceVersion", "String", "Custom", True, "price and the day from which it holds"),
    Column("x_RguSeconds", "Decimal", "Custom", True, "device time weighted with reference GPU units, RGU s"),
    Column("x_SubsidyAgreementId", "String", "Custom", True, "agreement"),
    Column("x_SubsidyProgrammeId", "String", "Custom", True, "programme"),
    Column("x_SubsidyRate", "Decimal", "Custom", True, "share of the line's cost that the programme pays, nine places"),
    Column("x_SubsidyRule", "String", "Custom", True, "what the agreement says for that place and day"),
    Column("x_TokensIn", "Decimal", "Custom", True, "prompt tokens, cached ones included"),
    Column("x_TokensInCached", "Decimal", "Custom", True, "prompt tokens served from cache"),
    Column("x_TokensOut", "Decimal", "Custom", True, "output tokens"),
)  # fmt: skip
"""Each column of CostAndUsage, in the order of the files: the specification's by name, then ours by name."""

BILLING_PERIOD = (
    Column("BillingPeriodCreated", "DateTime", "Mandatory", False, "when the month was first booked in"),
    Column("BillingPeriodEnd", "DateTime", "Mandatory", False, "end of the month, exclusive"),
    Column("BillingPeriodLastUpdated", "DateTime", "Mandatory", False, "when it was closed; until then, as created"),
    Column("BillingPeriodStart", "DateTime", "Mandatory", False, "start of the month"),
    Column("BillingPeriodStatus", "String", "Mandatory", False, "of `billing_periods`", ("Open", "Closed")),
    Column("InvoiceIssuerName", "String", "Mandatory", False, "each issuer of CostAndUsage"),
)
"""Each column of BillingPeriod."""

LEFT_OUT = {
    "AvailabilityZone": "clusters have no zones",
    "CapacityReservation…": "nothing is reserved",
    "CommitmentDiscount…, CommitmentProgramEligibilityDetails": "there are no commitments",
    "ContractApplied": "subsidy agreements are no contract commitments; x_SubsidyAgreementId names them",
    "ContractedUnitPrice, ListUnitPrice, PricingCurrency…UnitPrice":
        "no unit price is published: a cost is measured, with its energy, and differs from hour to hour",
    "CredentialDetails, CredentialId, PrincipalId": "no people are known",
}  # fmt: skip
"""Columns of the specification that are not in our files, and why their condition does not hold."""
