"""A small catalogue with drawn photos, and a server to clean it with."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from furnclip.cleaning.service import Cleaner
from furnclip.config import CleaningSettings
from furnclip.state import StateStore
from tests.cleaning.batch_server import KEY, BatchServer, running
from tests.cleaning.fault_proxy import FaultProxy, proxied

# Read here, for the tests themselves see no FURNCLIP_ variable.
_CATALOGUE = os.environ.get("FURNCLIP_TEST_CATALOGUE")
TITLES = (
    ("Acme SKU-1234 Modern Oak Coffee Table - Set of 4 - $199.99 FREE SHIPPING", "peru"),
    ("NORDIC Bar stool, Black, 74 cm (art. 123.456.78)", "black"),
    ("Velora velvet sofa, Green NEW!!", "green"),
    ("LUMA Floor lamp, Red", "red"),
    ("Kestrel Desk, Blue, 120x60 cm", "blue"),
    ("Hale rustic pine bench", "sandybrown"),
)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return a CSV of six products; the photos are beside it."""
    root = tmp_path / "catalogue"
    (root / "images").mkdir(parents=True)
    rows = []
    for number, (title, color) in enumerate(TITLES, start=1):
        image = Image.new("RGB", (200, 160), "white")
        ImageDraw.Draw(image).rectangle((50, 40, 150, 140), fill=color)
        image.save(root / "images" / f"{number}.png")
        rows.append((f"P{number}", title, f"images/{number}.png", f"note, {number}"))
    write_rows(root / "products.csv", rows)
    return root / "products.csv"


@pytest.fixture
def any_catalogue(catalogue: Path) -> Path:
    """Return the drawn catalogue, or the CSV that FURNCLIP_TEST_CATALOGUE names, photos beside it.

    Its columns must have the names the drawn one has.
    """
    return Path(_CATALOGUE or catalogue).resolve()


def write_rows(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "name", "local_path", "note"))
        writer.writerows(rows)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with running(BatchServer()) as started:
        yield started


@pytest.fixture
def proxy(server: BatchServer) -> Iterator[FaultProxy]:
    with proxied(server.url) as started:
        yield started


MakeCleaner = Callable[..., Cleaner]


@pytest.fixture
def make_cleaner(tmp_path: Path, proxy: FaultProxy) -> MakeCleaner:
    """Return a factory of cleaners on one state file behind the proxy, with settings to change."""

    def make(**settings: object) -> Cleaner:
        values = {
            "base_url": proxy.url,
            "reconcile_seconds": 0.0,
            "poll_seconds": 0.01,
            **settings,
        }
        return Cleaner(
            StateStore(tmp_path / "state.duckdb"),
            CleaningSettings.model_validate(values),
            tmp_path / "batches",
            KEY,
            sleep=lambda _seconds: None,
        )

    return make
