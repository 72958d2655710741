"""Retrieval quality of base and tuned models on held-out products."""
