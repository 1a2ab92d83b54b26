"""How n-grams over pieces are written, in files and in arrays."""

OFFSET = 100  # a piece is written as the character of its id + OFFSET, as in NeMo's `constants.py`
BEGIN, END, UNKNOWN = -1, -2, -3  # <s>, </s>, <unk>
