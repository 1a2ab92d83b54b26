"""Samples to log-mel features to encoder frames, on the CPU or on a card.

Knows the feature extractor and the encoder's session. Knows nothing of tokens.
"""
