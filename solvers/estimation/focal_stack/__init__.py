"""Depth from photographs of one scene at several focus distances or apertures."""
