"""A home with solar panels, whose output on a clear day pvlib computes, and a battery."""
