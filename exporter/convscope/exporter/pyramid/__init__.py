"""The facts of a graph's feature maps: stride, receptive field, parameters, multiply-adds."""
