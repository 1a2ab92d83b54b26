"""Exact rewrites of an exported encoder: the same function, fewer and better-shaped operations."""
