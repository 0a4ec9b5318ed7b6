"""The networks that no library has; everything here needs PyTorch, and the rows don't."""
