"""What is known of each model: prices, image tokens, parameters, the day it is switched off.

Prices are dollars per million tokens from the vendor's price page; the Batch API halves them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from furnclip.errors import ConfigError

BATCH_DISCOUNT = 0.5
WARN_DAYS = 60
_PATCH = 32
_MAX_PATCHES = 1536


@dataclass(frozen=True)
class ModelProfile:
    """One model. ``image_factor`` multiplies the 32-pixel patches of an image into tokens."""

    name: str
    usd_in: float | None
    usd_cached: float | None
    usd_out: float | None
    image_factor: float
    parameters: Mapping[str, object] = field(default_factory=dict)
    shutdown: date | None = None
    replacement: str | None = None

    def image_tokens(self, width: int, height: int) -> int:
        """Return the prompt tokens of an image: 32-pixel patches, at most 1,536 of them."""
        patches = math.ceil(width / _PATCH) * math.ceil(height / _PATCH)
        return math.ceil(min(patches, _MAX_PATCHES) * self.image_factor)

    def usd(self, input_tokens: int, output_tokens: int, *, batch: bool) -> float | None:
        """Return the price of a request, None when the model's prices are not known."""
        prices = self.per_token(batch=batch)
        return None if prices is None else input_tokens * prices[0] + output_tokens * prices[2]

    def per_token(self, *, batch: bool) -> tuple[float, float, float] | None:
        """Return dollars per prompt, cached prompt and completion token."""
        if self.usd_in is None or self.usd_cached is None or self.usd_out is None:
            return None
        scale = (BATCH_DISCOUNT if batch else 1.0) / 1_000_000
        return self.usd_in * scale, self.usd_cached * scale, self.usd_out * scale

    def shutdown_warning(self, today: date, *, announced: date | None = None) -> str | None:
        """Return a warning within 60 days of the shutdown; ``announced`` is the server's date.

        Raises ``ConfigError`` once the model is switched off.
        """
        day = announced or self.shutdown
        if day is None or (day - today).days > WARN_DAYS:
            return None
        instead = (
            f"use --model {self.replacement}" if self.replacement else "choose another --model"
        )
        if day <= today:
            raise ConfigError(f"{self.name} was switched off on {day}", hint=instead)
        return f"{self.name} is switched off on {day}, in {(day - today).days} days; {instead}"


_PROFILES = {
    profile.name: profile
    for profile in (
        ModelProfile(
            "gpt-6-luna", 0.10, 0.01, 0.50, 2.46,
            {"reasoning_effort": "none", "verbosity": "low"},
        ),
        ModelProfile(
            "gpt-5-nano", 0.05, 0.005, 0.40, 2.46,
            {"reasoning_effort": "minimal", "verbosity": "low"},
            shutdown=date(2026, 12, 11), replacement="gpt-6-luna",
        ),
        # The offline rules take the same requests; they read small photos and cost nothing.
        ModelProfile("furnclip-rules", 0.0, 0.0, 0.0, 0.0),
    )
}  # fmt: skip


def model_profile(name: str, *, backend: str = "openai") -> ModelProfile:
    """Return the profile of a model; an unknown one has no prices and counts images like nano.

    A chat server of one's own has its own prices and need not know the vendor's parameters.
    """
    plain = ModelProfile(name, None, None, None, 2.46)
    return plain if backend == "endpoint" else _PROFILES.get(name, plain)
