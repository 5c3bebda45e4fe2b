"""How a problem is solved: every rule of "auto", and the settings of what it chooses from."""
