"""Tests of furnclip.cli."""
