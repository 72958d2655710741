"""One claim: an error, what it may be, and what it becomes when the mechanism is broken."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """``measure`` must stay within ``bound`` and ``broken`` must not.

    ``unit`` says what is measured; ``breakage`` what is done to the mechanism.
    """

    claim: str
    unit: str
    bound: float
    measure: Callable[[], float]
    breakage: str
    broken: Callable[[], float]

    def run(self) -> tuple[float, float]:
        """Return both errors."""
        return self.measure(), self.broken()
