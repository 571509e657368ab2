"""From predictions to scores: what networks predict, what a cell stores of it, and the scores computed from that.

This room does not know attacks: ``bbh_bench.attacks`` uses it, and not the reverse.
"""
