"""How property tests of this folder run: the same cases every time, and no clock in the verdict."""

from hypothesis import HealthCheck, Phase, settings


def repeatable(examples: int) -> settings:
    """Settings for so many cases."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
