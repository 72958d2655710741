"""One output line of a batch → what it says of one request, whoever made the line."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import from_json

from furnclip.cleaning.schema import MAX_FIELD, MAX_TITLE, UNKNOWN, CleanedProduct
from furnclip.state.cleaning_answers import Answer, Fields

_RAW_LIMIT = 20_000
_MOST_TOKENS = 1 << 40
_NO_FIELDS: Fields = (None, None, None, None, None)
_BATCH_CODES = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_RETRY_STATUSES = frozenset({408, 409, 425, 429})


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _PromptTokens(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptTokens | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Response(msgspec.Struct):
    status_code: int
    body: _Body


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response


class _Product(msgspec.Struct, forbid_unknown_fields=True):
    clean_title: str
    style: str | None = None
    material: str | None = None
    color: str | None = None
    object_type: str | None = None


_LINE = msgspec.json.Decoder(_Line)
_PRODUCT = msgspec.json.Decoder(_Product)


def classify(line: bytes) -> Answer:
    """Turn one output line into an answer; never raises, whatever the line holds.

    ``custom_id`` is empty for a line that is no output line at all. A line of the vendor's shape
    is read by a short cut that parses only what is needed, in less than half the time; the long
    way says what a line means.
    """
    try:
        if not line.isascii():
            line.decode()  # the parser does not look into what it skips
        found = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return classify_slowly(line)
    response = found.response
    if response.status_code >= 400 or not response.body.choices:
        return classify_slowly(line)
    choice, usage = response.body.choices[0], response.body.usage or _Usage()
    message, details = choice.message, usage.prompt_tokens_details
    cached = details.cached_tokens if details else None
    outcome, error, fields = _read_answer(message.refusal, choice.finish_reason, message.content)
    return Answer(
        _text(found.custom_id), outcome, error, None if outcome == "ok" else _raw(line), fields,
        *_tokens(usage.prompt_tokens, cached, usage.completion_tokens),
    )  # fmt: skip


def classify_slowly(line: bytes) -> Answer:
    """Say what a line means, the long way."""
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
    choice = body["choices"][0]
    message, usage = choice["message"], body.get("usage") or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    tokens = _tokens(usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))
    outcome, error, fields = _read_answer(
        message.get("refusal"), choice.get("finish_reason"), message.get("content")
    )
    return Answer(
        identity, outcome, error, None if outcome == "ok" else _raw(line), fields, *tokens
    )


def _tokens(prompt: object, cached: object, completion: object) -> tuple[int, int, int]:
    """Return the three numbers of tokens; absent or absurd ones count as 0."""
    given = _count(prompt)
    return given, min(_count(cached), given), _count(completion)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):  # a column of numbers takes no true
        return 0
    return value if 0 <= value < _MOST_TOKENS else 0


def _read_answer(refusal: Any, reason: Any, content: Any) -> tuple[str, str | None, Fields]:
    """Return outcome, error and fields of what a model said."""
    if refusal:
        return "refusal", _text(refusal), _NO_FIELDS
    if reason == "content_filter":
        return "refusal", "stopped by the content filter", _NO_FIELDS
    if reason == "length":
        return "length", "the answer was cut at the token limit", _NO_FIELDS
    if not content:
        return "empty", "the answer is empty", _NO_FIELDS
    fields = _plain_fields(content)
    return ("ok", None, fields) if fields else _validated(content)


def _validated(content: Any) -> tuple[str, str | None, Fields]:
    try:
        product = CleanedProduct.model_validate_json(_unfenced(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        kind = "invalid_json" if first["type"] == "json_invalid" else "invalid_fields"
        place = ".".join(str(part) for part in first["loc"])
        return kind, _text(f"{place}: {first['msg']}".removeprefix(": ")), _NO_FIELDS
    return "ok", None, (
        product.clean_title, product.style, product.material, product.color, product.object_type
    )  # fmt: skip


def _plain_fields(content: Any) -> Fields | None:
    """Return the fields of an answer that ``CleanedProduct`` takes as it is; None for any other."""
    try:
        found = _PRODUCT.decode(content)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        return None
    title, *others = fields = (
        found.clean_title, found.style, found.material, found.color, found.object_type
    )  # fmt: skip
    if not title or len(title) > MAX_TITLE or title != title.strip():
        return None
    for value in others:
        if value is not None and (
            len(value) > MAX_FIELD or value != value.strip() or value.casefold() in UNKNOWN
        ):
            return None
    return fields


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
    if isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value:
        return value[:300]
    return " ".join(str(value).split())[:300].encode("utf-8", "replace").decode()


def _raw(line: bytes) -> str:
    return line.decode("utf-8", "replace")[:_RAW_LIMIT]
