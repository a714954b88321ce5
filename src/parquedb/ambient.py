"""The clock, identities and randomness: the only place that asks the machine for them.

Everything that needs one takes an :class:`Ambient`, so that tests can replay a run exactly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from parquedb.slotted import dataclass

if TYPE_CHECKING:
    import uuid


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


def _new_uuid() -> uuid.UUID:
    import uuid  # noqa: PLC0415  (a get does without)

    return uuid.uuid4()


def _random_bits(count: int) -> int:
    size_bytes = (count + 7) // 8
    return int.from_bytes(os.urandom(size_bytes), "big") >> (8 * size_bytes - count)


SYSTEM = Ambient(
    now_us=lambda: time.time_ns() // 1000,
    new_uuid=_new_uuid,
    random_bits=_random_bits,
)
"""The real clock and the operating system's randomness."""
