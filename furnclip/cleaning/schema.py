"""What a cleaned product is, and how a model is asked for one."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

FIELDS = ("clean_title", "style", "material", "color", "object_type")
MAX_TITLE, MAX_FIELD = 200, 80  # characters
UNKNOWN = frozenset({"", "unknown", "n/a", "na", "none", "null", "not specified", "unspecified"})

_Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FIELD)]


class CleanedProduct(BaseModel):
    """The cleaned fields of one product; None means unknown, never a guess spelled out.

    Lengths are checked here and not in the JSON schema sent: strict mode allows no length keyword.
    """

    model_config = ConfigDict(extra="forbid")

    clean_title: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TITLE)
    ]
    style: _Short | None = None
    material: _Short | None = None
    color: _Short | None = None
    object_type: _Short | None = None

    @model_validator(mode="after")
    def _unknown_is_none(self) -> Self:
        # one call a product: a validator a field takes as long as all the rest
        for name in FIELDS[1:]:
            value = getattr(self, name)
            if value is not None and value.casefold() in UNKNOWN:
                setattr(self, name, None)
        return self


def strict_schema() -> dict[str, Any]:
    """Return the JSON schema for strict structured output: every field required, null allowed."""
    nullable = {"type": ["string", "null"]}
    return {
        "type": "object",
        "properties": {"clean_title": {"type": "string"}, **dict.fromkeys(FIELDS[1:], nullable)},
        "required": list(FIELDS),
        "additionalProperties": False,
    }
