"""Slow, obvious versions of what the package computes fast: the oracles of the tests."""

from __future__ import annotations
