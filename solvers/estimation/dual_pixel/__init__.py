"""Signed defocus map of a dual-pixel pair: matching cost, semi-global matching, confidence, completion."""
