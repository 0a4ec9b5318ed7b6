"""Encoded images become the arrays that a graph takes."""
