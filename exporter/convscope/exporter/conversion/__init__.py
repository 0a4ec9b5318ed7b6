"""From a network in PyTorch to a verified graph: the contract, its feature maps, its gates."""
