"""Training: the job, the fit by Lightning, freezing, runs that can go on after a kill."""
