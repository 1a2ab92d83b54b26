"""What is known beside the sound: phrases, language models, scripts; and how many hypotheses are kept.

Knows vocabularies and text. Makes automata and masks for the decoder; knows nothing of models, audio or engines.
"""
