"""Vectors for the catalogue, and searching them."""
