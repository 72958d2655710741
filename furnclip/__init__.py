"""Furniture catalogue search: clean product data, fine-tune CLIP, embed, search and judge blind.

The package imports nothing heavy; every stage imports what it needs when it runs.
"""

import os

__version__ = "0.1.0"

# Read by torch's OpenMP when it loads. Its threads spin for milliseconds after each share of work
# unless told otherwise, on the cores that decode the next images: loading took up to five times
# as long on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
