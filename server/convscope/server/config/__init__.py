"""Flags, environment and settings file become settings."""
