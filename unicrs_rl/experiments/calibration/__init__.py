"""Fitting simulated seekers to human dialogues."""
