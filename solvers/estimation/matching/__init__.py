"""Which of some candidates explains several views best at each pixel: costs, and their aggregation."""
