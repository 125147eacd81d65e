"""State of the audits: what `check --every` publishes."""

from pydantic import BaseModel, ConfigDict


class AuditState(BaseModel):
    """What one audit of the book last found: topic `audits`, key = name. The newest replaces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    protects: str
    """The promise that the audit checks, in a sentence."""
    severity: str
    """critical or warning: how bad it is when something is at fault."""
    examined: int
    """How much was examined, in the audit's own unit."""
    faults: int
    """How much of it is at fault; 0 = the audit passes."""
    rows: list[str]
    """The first rows at fault, oldest first, as text."""
    ts_ms: int
    """When the audit was run."""
