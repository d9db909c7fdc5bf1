"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("trioagent", deadline=None, database=None)
settings.load_profile("trioagent")
