"""Offline quantisation: graph surgery, calibration, Q/DQ writing, sensitivity, comparison."""
