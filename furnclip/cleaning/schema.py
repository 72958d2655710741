"""What a cleaned product is, and how a model is asked for one."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator

FIELDS = ("clean_title", "style", "material", "color", "object_type")
_UNKNOWN = frozenset({"", "unknown", "n/a", "na", "none", "null", "not specified", "unspecified"})

_Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]


class CleanedProduct(BaseModel):
    """The cleaned fields of one product; None means unknown, never a guess spelled out.

    Lengths are checked here and not in the JSON schema sent: strict mode allows no length keyword.
    """

    model_config = ConfigDict(extra="forbid")

    clean_title: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)
    ]
    style: _Short | None = None
    material: _Short | None = None
    color: _Short | None = None
    object_type: _Short | None = None

    @field_validator("style", "material", "color", "object_type", mode="after")
    @classmethod
    def _unknown_is_none(cls, value: str | None) -> str | None:
        return None if value is None or value.casefold() in _UNKNOWN else value


def strict_schema() -> dict[str, Any]:
    """Return the JSON schema for strict structured output: every field required, null allowed."""
    nullable = {"type": ["string", "null"]}
    return {
        "type": "object",
        "properties": {"clean_title": {"type": "string"}, **dict.fromkeys(FIELDS[1:], nullable)},
        "required": list(FIELDS),
        "additionalProperties": False,
    }
