"""What is computed: three operators, with their inputs, everyone who computes them, and the work that must be done."""
