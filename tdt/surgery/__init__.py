"""Graphs rewritten before a session opens them: the decoder cut into its networks, the encoder prepared for devices.

Knows operators and weights. Runs nothing but what it needs to learn a shape.
"""
