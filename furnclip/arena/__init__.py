"""Blind comparison of models in the terminal: deck, votes, statistics and the app."""
