"""The clock, identities and randomness: the only place that asks the machine for them.

Everything that needs one takes an :class:`Ambient`, so that tests can replay a run exactly.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ambient:
    """What the surroundings provide.

    Args:
        now_us: The time, microseconds since the epoch.
        new_uuid: A fresh random UUID.
        random_bits: That many random bits as a non-negative integer.
    """

    now_us: Callable[[], int]
    new_uuid: Callable[[], uuid.UUID]
    random_bits: Callable[[int], int]

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return self.now_us() // 1000


SYSTEM = Ambient(
    now_us=lambda: time.time_ns() // 1000,
    new_uuid=uuid.uuid4,
    random_bits=secrets.randbits,
)
"""The real clock and the operating system's randomness."""
