"""Is a record what it claims to be? Recompute its scores, and publish what holds."""
