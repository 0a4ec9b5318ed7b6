"""The commands of `convscope-exporter`: options in, what was done out."""
