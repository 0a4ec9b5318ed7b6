"""The process: startup, workers and their supervisor, signals, memory, the health check."""
