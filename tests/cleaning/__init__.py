"""Tests of furnclip.cleaning."""
