"""The commands of `convscope-exporter`: options and printed reports."""
