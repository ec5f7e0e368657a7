"""Pydantic models of what users write and what runs store: settings, recipes, manifests, reports."""
