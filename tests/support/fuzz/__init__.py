"""Fuzzing: inputs that are almost valid, made from valid ones."""
