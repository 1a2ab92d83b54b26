"""Encoder frames to hypotheses: the compiled engine, the ONNX engine and the engine on the card.

Knows the prediction network, the joint network and the rule. Counts encoder frames; knows no seconds and no text.
"""
