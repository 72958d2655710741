"""Tests of furnclip.evaluation."""
