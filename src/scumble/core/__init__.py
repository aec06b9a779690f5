"""The nouns of the library: schedules, predictions, priors, noise, requests. Knows torch and nothing else."""
