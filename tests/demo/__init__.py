"""Tests of furnclip.demo."""
