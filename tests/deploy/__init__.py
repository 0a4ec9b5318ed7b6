"""The tests of deploy/ and what they share."""
