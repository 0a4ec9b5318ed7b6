"""Which versions of which models answer: found on disk, loaded, swapped and unloaded."""
