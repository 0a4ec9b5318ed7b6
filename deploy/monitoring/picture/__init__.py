"""Draws what a person would see of the overview, from real query results."""
