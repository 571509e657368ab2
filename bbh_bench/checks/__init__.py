"""Contract tests of methods, tasks, attacks and metrics. ``bbh_bench.testing`` names those that plugins call."""
