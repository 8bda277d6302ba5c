"""What every solver is made of: arguments checked, the one loop, a condition proved, a `Solution` with its status."""
