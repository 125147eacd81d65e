"""How slices are named in the ledger: ``3g.40gb/1`` is an instance of profile ``3g.40gb``, ``cpx/3`` one of ``cpx``."""

from schemas.samples import UNALLOCATED

_SHARED = "shared"  # equal parts of a whole device that several workloads share: shared/namespace/pod


def slice_profile(slice_name: str) -> str:
    """Profile of a slice; empty for a whole device, for equal parts of one, and for what belongs to no slice.

    An exporter may print the number of an instance without its profile; a number alone is no profile.
    """
    profile = slice_name.partition("/")[0]
    return "" if profile in (_SHARED, UNALLOCATED) or profile.isdecimal() else profile
