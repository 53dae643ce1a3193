"""Experiments with training and accuracy, each a command of its own."""
