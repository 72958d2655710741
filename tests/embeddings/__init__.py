"""Tests of furnclip.embeddings."""
