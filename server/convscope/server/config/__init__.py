"""Flags, environment variables and the settings file become `Settings`."""
