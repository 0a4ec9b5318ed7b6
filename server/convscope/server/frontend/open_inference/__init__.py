"""The Open Inference Protocol: a second frontend of the same engine, on the same port."""
