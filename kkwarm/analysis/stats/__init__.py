"""Statistics of scores: arrays in, estimates out. Imports numpy and scipy only, nothing else of kkwarm."""
