"""What a graph's feature maps are: shape, stride, receptive field, parameters, multiply-adds."""
