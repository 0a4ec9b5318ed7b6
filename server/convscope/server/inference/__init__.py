"""Requests to results: version lookup, admission, decoding, batching, ranking, shadow traffic."""
