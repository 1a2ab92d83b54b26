"""Recordings longer than a window: where to cut, what is carried over, how runs are continued.

Knows windows, pauses and batches of several recordings. Its parts (extractor, encoder, engine) are handed to it.
"""
