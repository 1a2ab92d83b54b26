"""Automata that score tokens while decoding goes on: phrases, language models, masks. Arrays only."""
