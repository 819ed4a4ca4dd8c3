"""Measurements, on real parts, that print what README and docs quote."""
