"""Cleaning without a model: word lists read the title, the photo settles the colour.

Deterministic. The photo overrules the title's colour only when it is sure: most of the product is
one chromatic colour and the title's family is hardly there.
"""

import re

from PIL import Image

from furnclip.cleaning.lexicon import load_lexicon
from furnclip.cleaning.photo_color import PhotoColor, photo_color
from furnclip.cleaning.schema import CleanedProduct
from furnclip.cleaning.titles import ParsedTitle, capitalised, parse_title

_SURE_SHARE = 0.7
_ABSENT_SHARE = 0.03
_CHROMATIC = frozenset({"red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink"})
_NEAR = (
    {"red", "burgundy", "brown", "orange"},
    {"red", "pink"},
    {"pink", "purple"},
    {"orange", "yellow", "gold", "beige", "brown"},
    {"green", "turquoise"},
    {"turquoise", "blue"},
    {"blue", "purple"},
)


def clean_product(title: str, image: Image.Image | None) -> CleanedProduct:
    """Clean one product; without a photo only the title speaks."""
    parsed = parse_title(title)
    photo = photo_color(image) if image is not None else None
    color = _color(parsed, photo)
    clean = parsed.clean
    if color and parsed.color and color != parsed.color:
        clean = _replace_word(clean, parsed.color, color)
    return CleanedProduct(
        clean_title=clean[:200],
        style=None if parsed.style is None else capitalised(parsed.style),
        material=parsed.material,
        color=color,
        object_type=parsed.object_type,
    )


def _color(parsed: ParsedTitle, photo: PhotoColor | None) -> str | None:
    if parsed.color is not None:
        if photo is not None and _contradicts(parsed.color_family, photo):
            return capitalised(photo.name)
        return parsed.color
    finish = parsed.material
    if finish is not None:
        families = load_lexicon().finish_colors.get(finish.lower())
        if families and (photo is None or photo.name in families):
            return finish
    return None if photo is None else capitalised(photo.name)


def _contradicts(family: str | None, photo: PhotoColor) -> bool:
    if family in {None, "multicolour", "clear"} or photo.name not in _CHROMATIC:
        return False
    if any({family, photo.name} <= near for near in _NEAR):
        return False
    return photo.share >= _SURE_SHARE and photo.votes.get(str(family), 0.0) <= _ABSENT_SHARE


def _replace_word(text: str, old: str, new: str) -> str:
    pattern = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)
    return capitalised(pattern.sub(lambda found: _like(found.group(), new), text, count=1))


def _like(original: str, replacement: str) -> str:
    return replacement if original[:1].isupper() else replacement.lower()
