"""From token pieces to text: words, segments, seconds; txt, json, srt and vtt; output files that grow.

Knows hypotheses and vocabularies. Knows nothing of audio, graphs or how the tokens came about.
"""
