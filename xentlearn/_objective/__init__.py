"""What is minimised, how far from its minimum a point is, and approximate inverse Hessians."""
