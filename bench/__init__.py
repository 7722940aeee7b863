"""Benchmarks on real nodes. ``scripts/bench`` runs all of them and prints one table of one run."""
