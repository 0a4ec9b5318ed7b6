"""FP16 versions of bundles: half the size, for GPUs.

graph    converts a graph
convert  compares it with the original, and publishes it
"""
