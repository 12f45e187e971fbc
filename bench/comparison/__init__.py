"""The parts of compare.py: cases, contenders, limits, timing, goals, report, plots."""
