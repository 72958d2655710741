"""The OpenAI SDK's client, made when it is first asked for and closed with its owner."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import OpenAI


class LazyClient:
    """Returns the SDK's client when called, one for all threads; ``options`` are ``OpenAI``'s.

    Its connections are closed when this object goes, not when the collector finds them. An
    ``http_client`` among the options is the caller's and stays open.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._made: OpenAI | None = None

    def __call__(self) -> OpenAI:
        """Return the client."""
        with self._lock:
            if self._made is None:
                from openai import OpenAI

                self._made = OpenAI(**self._options)
                if self._options.get("http_client") is None:
                    weakref.finalize(self, self._made.close)
            return self._made
