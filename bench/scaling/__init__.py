"""A model of fleets: what a number of images per second needs, and how queues behave."""
