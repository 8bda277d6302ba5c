"""Layers and rules that several networks are made of."""
