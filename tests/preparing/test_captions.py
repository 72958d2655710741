"""Captions read like English whatever is unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furnclip.config import PrepSettings
from furnclip.errors import ConfigError
from furnclip.preparing.captions import SLOTS, Template, captions_of, is_long

PHRASE = Template.parse("a {style} {color} {material} {object_type}")


@pytest.mark.parametrize(
    ("known", "caption"),
    [
        (("Modern", "Black", "Leather", "Sofa"), "a Modern Black Leather Sofa"),
        (("", "Black", "", "Sofa"), "a Black Sofa"),
        (("", "", "oak", "table"), "an oak table"),
        (("", "", "", "armchair"), "an armchair"),
        (("Modern", "Black", "Leather", ""), ""),
        (("", "", "", ""), ""),
        (("", "Pine", "pine", "Bed"), "a Pine Bed"),
        (("Glass", "", "", "glass"), "a glass"),
        ((" Modern ", "  ", "", " side  table"), "a Modern side table"),
    ],
)
def test_empty_slots_are_dropped(known: tuple[str, ...], caption: str) -> None:
    names = ("style", "color", "material", "object_type")
    assert PHRASE.fill(dict(zip(names, known, strict=True))) == caption


def test_captions_come_in_template_order_without_repetition() -> None:
    templates = [Template.parse(text) for text in ("{clean_title}", "{title}", "{object_type}")]
    values = {"title": "SOFA", "clean_title": "Sofa", "object_type": "couch"}
    assert captions_of(values, templates) == ["Sofa", "couch"]


def test_product_without_cleaned_fields_is_captioned_by_its_title() -> None:
    templates = [Template.parse(text) for text in PrepSettings().captions]
    assert captions_of({"title": " EKTORP  sofa "}, templates) == ["EKTORP sofa"]
    assert captions_of({"title": ""}, templates) == []


@pytest.mark.parametrize("text", ["a {colour} sofa", "{", "{0}", "{title!r} {x}"])
def test_wrong_template_is_a_settings_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"prep\.captions"):
        Template.parse(text)


@given(st.dictionaries(st.sampled_from(SLOTS), st.text(max_size=20)))
def test_captions_are_single_spaced_lines(values: dict[str, str]) -> None:
    for caption in captions_of(values, [PHRASE, Template.parse("{title}, {color}")]):
        assert caption == " ".join(caption.split())
        assert caption


def test_long_captions_are_recognised() -> None:
    assert is_long("oak " * 76)
    assert not is_long("oak " * 75)
    assert is_long("8" * 76)
