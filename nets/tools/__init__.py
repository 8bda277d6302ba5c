"""What a network costs, and how it leaves Python: summaries, published figures, precision, export."""
