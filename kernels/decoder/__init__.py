"""Greedy TDT decoding: the rule, the networks as matrix products, and the loop that walks a batch."""
