"""The objective, certified bounds of its optimality gap, and approximate inverse Hessians."""
