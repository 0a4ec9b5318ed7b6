"""The conversion of PyTorch networks to bundles: graph contract, feature maps, gates."""
