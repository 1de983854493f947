"""Observed stars: spectra, windows, instruments, and fits of a star's parameters in PySME."""
