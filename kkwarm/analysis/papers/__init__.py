"""Claims of papers, each evaluated on a study and registered by the hook `kkwarm_claims`."""
