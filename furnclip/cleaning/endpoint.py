"""Any OpenAI-compatible chat server without a Batch API: vLLM, Ollama, llama.cpp and the like.

furnclip runs the batch's requests itself (``local_batches``); here is only how one is asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.cleaning.api_client import without_key
from furnclip.cleaning.backends import AccessError
from furnclip.cleaning.local_batches import LocalBatches
from furnclip.cleaning.sdk import LazyClient
from furnclip.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError

_TIMEOUT_SECONDS = 300.0


def endpoint_backend(
    folder: Path,
    *,
    base_url: str | None,
    api_key: str | None,
    concurrency: int,
    http_client: httpx2.Client | None = None,
) -> LocalBatches:
    """Return a backend that asks the chat server at ``base_url``; local servers need no key."""
    if base_url is None:
        raise ConfigError(
            "backend endpoint needs the address of a chat server",
            hint="give --base-url, for instance http://127.0.0.1:8000/v1",
        )
    answer = ChatEndpoint(base_url, api_key, http_client=http_client)
    return LocalBatches(folder, answer, name="endpoint", base_url=base_url, concurrency=concurrency)


class ChatEndpoint:
    """Asks one request at a time; safe from several threads.

    A refused or failed request becomes an output line with the server's status, as in a batch.
    Only what would fail every row is an exception: a server that cannot be reached, a wrong key,
    an unknown model.
    """

    def __init__(
        self, base_url: str, api_key: str | None, *, http_client: httpx2.Client | None = None
    ) -> None:
        self._base_url = base_url
        self._client = LazyClient(
            api_key=api_key or "not-needed",
            base_url=base_url,
            timeout=_TIMEOUT_SECONDS,
            http_client=http_client,
        )

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the ``response`` object of an output line."""
        import openai

        try:
            answer = self._client().post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            self._refuse_all(error)
            told = json.dumps(error.body or error.message)
            return {
                "status_code": error.status_code,
                "body": {"error": json.loads(without_key(told, error.request))},
            }
        except openai.APITimeoutError as error:
            return {"status_code": 408, "body": {"error": str(error)}}
        except openai.APIConnectionError as error:
            raise RemoteError(
                f"the chat server at {self._base_url} does not answer: {error.__cause__ or error}",
                hint="start it, then `furnclip clean wait` goes on where it stopped",
            ) from error
        return {"status_code": 200, "body": answer}

    def _refuse_all(self, error: APIStatusError) -> None:
        if error.status_code in {401, 403}:
            raise AccessError(
                f"the chat server at {self._base_url} does not accept the API key "
                f"({error.status_code})",
                hint="set OPENAI_API_KEY to the key of that server",
            ) from error
        if error.status_code == 404:
            raise RemoteError(
                f"the chat server at {self._base_url} answers 404: "
                f"{without_key(error.message, error.request)[:300]}",
                hint="check that --base-url ends in /v1, and that it serves the model of the run",
            ) from error
