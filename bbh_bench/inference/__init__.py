"""What methods are built from: training, weight distributions, divergences, flows, weight generators."""
