"""Feature maps and explanations as pictures."""
