"""The cases of the differential tests of the transports."""
