"""Two or more runs of the same configurations: verdicts seed by seed, and what moved the numbers."""
