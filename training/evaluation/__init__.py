"""Metrics of generators, by names that state how they were measured."""
