"""Tests of furnclip.preparing."""
