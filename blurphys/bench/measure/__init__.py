"""How fast the machine is, and what everyone takes on it: times, and memory."""
