"""Furniture catalogue search: clean product data, fine-tune CLIP, embed, search and judge blind.

The package imports nothing heavy; every stage imports what it needs when it runs.
"""

__version__ = "0.1.0"
