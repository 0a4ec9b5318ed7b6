"""The Open Inference Protocol over REST, translated to the server's gRPC service."""
