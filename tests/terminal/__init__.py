"""Tests of furnclip.terminal."""
