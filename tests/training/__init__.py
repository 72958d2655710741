"""Tests of furnclip.training."""
