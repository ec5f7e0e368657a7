"""Scores stored completions without a model: saved outputs, runs with today's verifiers, and checks of stored runs."""
