"""Writes kkwarm's domains in the forms of other tools."""
