"""Judging an installation: what is there, what it measures, what is wrong with it and what to do."""
