"""Tests of furnclip.arena."""
