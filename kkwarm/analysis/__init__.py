"""Paired statistics over checkpoints and domains, the paper's claims, and sample efficiency."""
