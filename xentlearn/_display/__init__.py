"""Pictures of losses, fits and coefficients, drawn with matplotlib."""
