"""Splits are a property of the product, not of the catalogue it is in."""

from furnclip.preparing.splits import in_mini, split_of, unit


def draw(group: str, *, salt: str = "furnclip") -> str:
    return split_of(group, salt=salt, val_fraction=0.1, test_fraction=0.1)


def test_fractions_are_met_on_a_large_catalogue() -> None:
    drawn = [draw(f"SKU-{number}") for number in range(20_000)]
    assert abs(drawn.count("val") / 20_000 - 0.1) < 0.01
    assert abs(drawn.count("test") / 20_000 - 0.1) < 0.01


def test_val_and_test_are_sensible_on_every_small_catalogue() -> None:
    for catalogue in range(50):
        drawn = [draw(f"{catalogue}-{number}") for number in range(500)]
        assert 25 < drawn.count("val") < 80
        assert 25 < drawn.count("test") < 80


def test_the_same_products_fall_into_the_same_splits_for_ever() -> None:
    assert unit("furnclip", "000.780.32") == 0.9504685906278558
    drawn = [draw(name) for name in ("000.780.32", "SKU-4", "SKU-9", "SKU-10", "SKU-11")]
    assert drawn == ["train", "test", "val", "train", "val"]


def test_growing_the_test_fraction_never_moves_a_test_product_out() -> None:
    for number in range(2_000):
        if draw(str(number)) == "test":
            assert split_of(str(number), salt="furnclip", val_fraction=0.1, test_fraction=0.2) == (
                "test"
            )


def test_another_salt_draws_anew() -> None:
    moved = sum(draw(str(n)) != draw(str(n), salt="other") for n in range(2_000))
    assert moved > 400


def test_mini_is_drawn_independently_of_the_split() -> None:
    chosen = [in_mini(str(n), salt="furnclip", mini_fraction=0.1) for n in range(20_000)]
    assert abs(sum(chosen) / 20_000 - 0.1) < 0.01
    in_test = [c for n, c in enumerate(chosen) if draw(str(n)) == "test"]
    assert abs(sum(in_test) / len(in_test) - 0.1) < 0.03
    assert not any(in_mini(str(n), salt="furnclip", mini_fraction=0) for n in range(100))
