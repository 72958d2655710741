"""The state file: one local DuckDB database, and the only place with SQL."""

from furnclip.state.store import StateStore

__all__ = ["StateStore"]
