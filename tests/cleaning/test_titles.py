import pytest

from furnclip.cleaning.titles import parse_title, strip_noise


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (
            "Acme SKU-1234 Modern Oak Coffee Table - Set of 4 - $199.99 FREE SHIPPING",
            "Modern Oak Coffee Table",
        ),
        ("BJORK STOOL, BLACK, 23X23 CM", "Stool, black"),
        ("Contoso Floor lamp, Off-white, 150 cm (art. 000.783.34)", "Floor lamp, Off-white"),
        ("IKEA Kettle, 1.5 l NEW!!", "Kettle"),
        ("Linen Cushion Cover 50x50 cm | Free delivery", "Linen Cushion Cover"),
        ("Hale navy velvet sofa bed - was £899 now £599!", "Navy velvet sofa bed"),
        ("3-Piece Sectional Sofa in Gray Linen (Model #ASH-4432)", "Sectional Sofa in Gray Linen"),
        ("Dining Chair by Nathan James w/ Black Legs", "Dining Chair w/ Black Legs"),
        ("Rug 5' x 7' Red", "Rug Red"),
        ("Picture, New York", "Picture, New York"),
    ],
)
def test_noise_and_names_are_removed(raw: str, clean: str) -> None:
    assert parse_title(raw).clean == clean


@pytest.mark.parametrize(
    ("raw", "object_type"),
    [
        ("Kids Bunk Bed Twin over Twin Solid Pine", "Kids bunk bed"),
        ("BRAND Chest of 3 drawers, white", "Chest of drawers"),
        ("Vintage Bar Stools Counter Height Swivel Leather Seat", "Bar stool"),
        ("Dresser 6 Drawers", "Dresser"),
        ("Glass shelf, 60 cm", "Shelf"),
        ("Vase, Clear glass", "Vase"),
        ("LED work lamp, Black", "LED work lamp"),
        ("Bookcase with glass door", "Bookcase"),
        ("Set of 2 shelves", "Shelf"),
        ("Qwertz 99", None),
    ],
)
def test_object_type_is_the_noun_that_names_the_thing(raw: str, object_type: str | None) -> None:
    assert parse_title(raw).object_type == object_type


@pytest.mark.parametrize(
    ("raw", "color", "family"),
    [
        ("Chair, Dark grey", "Dark grey", "grey"),
        ("Chair, Black-brown", "Black-brown", "black"),
        ("Chair in gray", "Grey", "grey"),
        ("Red wine glass", None, None),
        ("Vase, Clear glass", "Clear", "clear"),
        ("Cherry table, navy", "Navy", "blue"),
        ("Oak table", None, None),
    ],
)
def test_color_is_read_with_its_qualifiers(raw: str, color: str | None, family: str | None) -> None:
    parsed = parse_title(raw)
    assert (parsed.color, parsed.color_family) == (color, family)


def test_material_and_style_are_canonical() -> None:
    parsed = parse_title("Mid Century walnut wood side table with metal legs")
    assert (parsed.style, parsed.material) == ("mid-century modern", "Walnut")


@pytest.mark.parametrize("raw", ["", "   ", "!!!", "$$ 99", "\ufffd\ufffd", "x" * 5000, "(((", "-"])
def test_any_text_has_a_clean_title(raw: str) -> None:
    assert parse_title(raw).clean.strip()


def test_prices_and_codes_leave_no_digits_behind() -> None:
    assert strip_noise("Sofa EUR 49,90 Item# 4411 x2 SKU HC-2231 75% off") == "Sofa"
