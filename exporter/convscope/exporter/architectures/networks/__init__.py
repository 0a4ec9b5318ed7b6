"""The networks that no library provides. These modules import PyTorch; the rows don't."""
