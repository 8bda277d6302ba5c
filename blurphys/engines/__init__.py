"""Where the fast code is: primitives for each kind of array, and the readable reference they must equal."""
