"""Costs of networks (parameters, operations, precision), published figures, and export."""
