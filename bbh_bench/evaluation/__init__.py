"""From stored predictions to scores."""
