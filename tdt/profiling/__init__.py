"""Measuring: profiles, benchmarks, reports and pictures."""
