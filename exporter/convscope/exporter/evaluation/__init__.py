"""Evaluation of bundles and served models on labeled inputs, and its report."""
