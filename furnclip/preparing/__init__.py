"""Preparing: a cleaned catalogue in, splits of WebDataset shards out."""
