"""How many examples hypothesis draws, and how: everywhere the same ones, or a search at random on request."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = 40  # of a test that asks for no other number

NIGHTLY = os.environ.get("BLURPHYS_HYPOTHESIS_PROFILE") == "nightly"
"""Whether this is a search (`make nightly`), in which tests run, too, that are too slow for every change."""

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
_common = {"deadline": None, "print_blob": True, "database": None, "suppress_health_check": _slow}
settings.register_profile("fixed", max_examples=EXAMPLES, derandomize=True, **_common)
settings.register_profile("nightly", max_examples=int(os.environ.get("BLURPHYS_EXAMPLES") or 400), **_common)
settings.load_profile("nightly" if NIGHTLY else "fixed")


def examples(count: int) -> settings:
    """Settings of a test that takes `count` examples by default, and more in proportion in a search."""
    return settings(max_examples=max(1, count * settings().max_examples // EXAMPLES))


laws = examples(200)
"""For the laws of operators."""
