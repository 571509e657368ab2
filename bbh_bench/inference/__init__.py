"""Building blocks of methods: training, weight distributions, KL divergences, normalising flows, weight generators."""
