"""Training with Lightning: the job, the fit, freezing, and runs that can be resumed."""
