"""Networks that are trained with each storage: what `accuracy.py` compares."""
