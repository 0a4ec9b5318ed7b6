"""The Open Inference Protocol: a second door to the same engine, on the same port."""
