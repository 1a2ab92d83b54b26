"""How encoded files are built, without decoding them.

Where joined files begin, how long they claim to be, and whether something is missing at the end. Each module reads one
family of formats by its lengths, and never its samples.
"""
