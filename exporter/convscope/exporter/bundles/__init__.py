"""Bundles on disk: published in one step, read with distrust, checked again."""
