"""Search of hyperparameters on validation data: the same number of trials and the same seeds for every method."""
