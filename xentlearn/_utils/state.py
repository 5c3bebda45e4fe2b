"""Objects of which some attributes change during a fit."""


class Stateful:
    """Dumps its changing attributes as a tree, and loads them.

    ``archive.py`` says what a tree is. Subclasses name the attributes in ``CHANGES``; they exist
    once the object is made.
    """

    CHANGES = ()

    def dump(self):
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.CHANGES}

    def load(self, tree):
        """Set the attributes to what ``dump`` returned."""
        for name in self.CHANGES:
            setattr(self, name, tree[name])
