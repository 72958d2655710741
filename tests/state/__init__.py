"""Tests of furnclip.state."""
