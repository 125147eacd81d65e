"""The FOCUS foundation's own validator, on the columns of our files that it knows.

`focus-validator` 1.0.0 knows FOCUS 1.0 and needs older packages than Commonwatt, so it has an environment of its own,
made on first use from `requirements-focus-validator.txt` (the only time that the network is needed).

    python -m tests.finance.focus.validator focus-1.4-cost-and-usage-2026-10.csv
"""

import csv
import fcntl
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_REQUIREMENTS = _ROOT / "requirements-focus-validator.txt"
ENVIRONMENT = _ROOT / "out" / "focus-validator"

RENAMED = {"ProviderName": "ServiceProviderName", "PublisherName": "ServiceProviderName"}
"""Columns of 1.0 that 1.4 calls otherwise."""
NEVER_FILLED = (
    "AvailabilityZone", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "ContractedUnitPrice", "ListUnitPrice",
)  # fmt: skip
"""Columns that 1.0's validator wants to be there, and that are empty: in 1.4 they are left out."""
KNOWN = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingCategory", "PricingQuantity", "PricingUnit", "RegionId", "RegionName", "ResourceId", "ResourceName",
    "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
"""Columns of 1.4 that 1.0 has under the same name."""

WRONG_RULES = {
    "InvoiceIssuer_Required": "wants the column under a name that 1.0 does not have: there it is InvoiceIssuerName",
    "Provider_Required": "the same: there it is ProviderName",
    "Publisher_Required": "the same: there it is PublisherName",
    "ResourceID_Required": "the same: there it is ResourceId",
    "SkuPriceId_Nullable": "looks at the column ChargeType, which is ChargeCategory since 1.0-preview",
}
"""What focus-validator 1.0.0 fails of every file of FOCUS 1.0, the correct ones included, and why."""

_FAILED = re.compile(r"^(FOCUS-\S+|\S+) failed:\n\tDescription: (.*)$", re.MULTILINE)


def validate(path: Path) -> tuple[dict[str, str], str]:
    """The checks that a CostAndUsage CSV fails, by name, with their descriptions; and what the validator printed."""
    with tempfile.TemporaryDirectory() as folder:
        projected = Path(folder) / "focus-1.0.csv"
        project(path, projected)
        command = [str(_program()), "--data-file", str(projected), "--validate-version", "1.0"]
        # It reads its list of currencies from beneath the working directory.
        (packages,) = (ENVIRONMENT / "lib").glob("python*/site-packages")
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=packages)
    if "Validation succeeded." not in answer.stdout and "Validation failed!" not in answer.stdout:
        raise RuntimeError(f"the validator did not come to an end: {answer.stderr[-2000:]}")
    return dict(_FAILED.findall(answer.stdout)), answer.stdout


def project(path: Path, projected: Path) -> None:
    """Our 1.4 CSV as one of 1.0: the columns that it knows, under its names."""
    with path.open(encoding="utf-8", newline="") as file, projected.open("w", encoding="utf-8", newline="") as written:
        names = [*KNOWN, *RENAMED, *NEVER_FILLED]
        rows = csv.DictWriter(written, names, quoting=csv.QUOTE_MINIMAL)
        rows.writeheader()
        for row in csv.DictReader(file):
            renamed = {name: row[ours] for name, ours in RENAMED.items()}
            rows.writerow({name: row[name] for name in KNOWN} | renamed | dict.fromkeys(NEVER_FILLED, ""))


def _program() -> Path:
    """The validator; its environment is made when it is not there, or belongs to other requirements."""
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    with ENVIRONMENT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_of = ENVIRONMENT / "requirements.txt"
        if not made_of.exists() or made_of.read_bytes() != _REQUIREMENTS.read_bytes():
            _make()
            made_of.write_bytes(_REQUIREMENTS.read_bytes())
    return ENVIRONMENT / "bin" / "focus-validator"


def _make() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)], check=True)
    uv, python = Path(sys.executable).with_name("uv"), ENVIRONMENT / "bin" / "python"
    install = ["pip", "install", "-q", "--python", str(python), "--require-hashes", "-r", str(_REQUIREMENTS)]
    subprocess.run([str(uv), *install], check=True)


if __name__ == "__main__":
    _failed, _printed = validate(Path(sys.argv[1]))
    sys.stdout.write(_printed)
    sys.exit(bool(_failed))
