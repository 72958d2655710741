import pytest
from PIL import Image, ImageDraw

from furnclip.cleaning.photo_color import photo_color
from furnclip.cleaning.rules import clean_product


def photo(color: str, background: str = "white") -> Image.Image:
    image = Image.new("RGB", (128, 128), background)
    ImageDraw.Draw(image).rectangle((24, 24, 104, 104), fill=color)
    return image


@pytest.mark.parametrize(
    ("color", "family"),
    [
        ("red", "red"), ("green", "green"), ("royalblue", "blue"), ("black", "black"),
        ("saddlebrown", "brown"), ("gray", "grey"), ("hotpink", "pink"), ("gold", "yellow"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("background", ["white", "lightsteelblue"])
def test_photo_color_is_the_products_not_the_backgrounds(
    color: str, family: str, background: str
) -> None:
    assert photo_color(photo(color, background)).name == family


def test_white_product_on_white_is_white() -> None:
    assert photo_color(Image.new("RGB", (64, 64), "white")).name == "white"


def test_photo_overrules_a_wrong_color_in_the_title() -> None:
    cleaned = clean_product("Nord Red Sofa", photo("blue"))
    assert (cleaned.color, cleaned.clean_title) == ("Blue", "Blue Sofa")


def test_photo_does_not_overrule_a_shade_of_the_same_color() -> None:
    assert clean_product("Nord Teal Sofa", photo("blue")).color == "Teal"


def test_photo_gives_the_color_the_title_lacks() -> None:
    assert clean_product("Nord Sofa", photo("green")).color == "Green"


def test_finish_is_the_color_only_when_the_photo_agrees() -> None:
    assert clean_product("Oak table", photo("peru")).color == "Oak"
    assert clean_product("Oak table", photo("blue")).color == "Blue"


def test_rules_are_deterministic() -> None:
    answers = {clean_product("Acme Oak Chair", photo("peru")).model_dump_json() for _ in range(5)}
    assert len(answers) == 1


def test_without_photo_only_the_title_speaks() -> None:
    assert clean_product("Sofa", None).color is None
