"""ClassifierService: our own protocol."""
