"""The demo: a network in plain NumPy on handwritten digits, stepped by flatstep.

``digits``, ``network`` and ``numpy_step`` are what a program without a framework consists of;
``training`` puts flatstep's updater, solver and listeners to work on it. ``python -m flatstep``
runs it.
"""
