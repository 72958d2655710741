"""One output line of a batch → what it says of one request, whoever made the line."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from furnclip.cleaning.schema import CleanedProduct
from furnclip.state.cleaning_results import Answer, Fields

_RAW_LIMIT = 20_000
_MOST_TOKENS = 1 << 40
_NO_FIELDS: Fields = (None, None, None, None, None)
_BATCH_CODES = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_RETRY_STATUSES = frozenset({408, 409, 425, 429})


def classify(line: bytes) -> Answer:
    """Turn one output line into an answer; never raises, whatever the line holds.

    ``custom_id`` is empty for a line that is no output line at all.
    """
    try:
        record = _parse(line)
        identity = _text(record["custom_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Answer("", "invalid_json", "not an output line", _raw(line))
    try:
        return _classify(identity, record, line)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        return Answer(identity, "invalid_json", _text(f"unexpected shape: {error!r}"), _raw(line))


def _parse(line: bytes) -> dict[str, Any]:
    """Parse a line; the fast parser refuses lone surrogates, which the standard one lets pass."""
    try:
        record: dict[str, Any] = from_json(line)
    except ValueError:
        record = json.loads(line)
    return record


def _classify(identity: str, record: dict[str, Any], line: bytes) -> Answer:
    response = record.get("response")
    if response is None:
        failure = record.get("error") or {}
        code = str(failure.get("code") or "missing")
        outcome = _BATCH_CODES.get(code, "http_error")
        return Answer(identity, outcome, _text(failure.get("message") or code), _raw(line))
    status, body = int(response["status_code"]), response["body"]
    if status >= 400:
        retry = status >= 500 or status in _RETRY_STATUSES
        outcome = "http_error" if retry else "bad_request"
        return Answer(identity, outcome, _text(f"HTTP {status}: {_message(body)}"), _raw(line))
    outcome, error, product = _read_choice(body["choices"][0])
    tokens = _tokens(body.get("usage") or {})
    if product is None:
        return Answer(identity, outcome, error, _raw(line), _NO_FIELDS, *tokens)
    fields = (product.clean_title, product.style, product.material, product.color,
              product.object_type)  # fmt: skip
    return Answer(identity, "ok", None, None, fields, *tokens)


def _tokens(usage: dict[str, Any]) -> tuple[int, int, int]:
    """Return prompt, cached and completion tokens; absent or absurd numbers count as 0."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    given = (usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))
    prompt, cached, completion = (
        value if isinstance(value, int) and 0 <= value < _MOST_TOKENS else 0 for value in given
    )
    return prompt, min(cached, prompt), completion


def _read_choice(choice: dict[str, Any]) -> tuple[str, str | None, CleanedProduct | None]:
    message, reason = choice["message"], choice.get("finish_reason")
    if message.get("refusal"):
        return "refusal", _text(message["refusal"]), None
    if reason == "content_filter":
        return "refusal", "stopped by the content filter", None
    content = message.get("content")
    if reason == "length":
        return "length", "the answer was cut at the token limit", None
    if not content:
        return "empty", "the answer is empty", None
    try:
        return "ok", None, CleanedProduct.model_validate_json(_unfenced(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        kind = "invalid_json" if first["type"] == "json_invalid" else "invalid_fields"
        place = ".".join(str(part) for part in first["loc"])
        return kind, _text(f"{place}: {first['msg']}".removeprefix(": ")), None


def _unfenced(content: str) -> str:
    """Strip a Markdown fence, which servers without structured output like to add."""
    text = content.strip()
    if text.startswith("```") and text.endswith("```"):
        return text.strip("`").removeprefix("json").strip()
    return text


def _message(body: object) -> object:
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("message") if isinstance(error, dict) else (error or body)


def _text(value: object) -> str:
    """Return a short line of text that any encoder takes."""
    return " ".join(str(value).split())[:300].encode("utf-8", "replace").decode()


def _raw(line: bytes) -> str:
    return line.decode("utf-8", "replace")[:_RAW_LIMIT]
