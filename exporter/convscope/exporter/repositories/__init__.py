"""Repositories of bundles: what they hold, and every change of them."""
