"""Trees of sentences: each node has a value and children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

DEEPEST = 200


class Tree:
    """`Tree(value, *children)`: a node of a tree, a leaf if it has no children.

    `t[0]` is its first child, `t[0, 1]` that one's second.

    >>> t = Tree("VP", Tree("runs"), Tree("ADV", Tree("fast")))
    >>> t[1, 0].value, t.leaves()
    ('fast', ['runs', 'fast'])
    """

    __slots__ = ("children", "value")

    def __init__(self, value: Any, *children: Tree) -> None:
        self.value, self.children = value, [*children]

    @property
    def isleaf(self) -> bool:
        """Whether it has no children."""
        return not self.children

    def __getitem__(self, i: int | tuple[int, ...]) -> Tree:
        tree = self
        for j in i if isinstance(i, tuple) else (i,):
            tree = tree.children[j]
        return tree

    def __len__(self) -> int:
        return len(self.children)

    def __bool__(self) -> bool:
        return True

    def nodes(self) -> Iterator[Tree]:
        """Every node, parents before their children and these in order."""
        pending = [self]
        while pending:
            tree = pending.pop()
            yield tree
            pending.extend(reversed(tree.children))

    def leaves(self) -> list[Any]:
        """The values of the leaves, in order."""
        return [tree.value for tree in self.nodes() if tree.isleaf]

    def map(self, f: Callable[[Any], Any]) -> Tree:
        """A tree of the same form with f of each value, parents before their children."""
        root = Tree(f(self.value))
        pending = [(self, root)]
        while pending:
            old, new = pending.pop()
            new.children = [Tree(f(child.value)) for child in old.children]
            pending.extend(zip(old.children, new.children, strict=True))
        return root

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tree):
            return NotImplemented
        pairs = [(self, other)]
        while pairs:
            a, b = pairs.pop()
            if a.value != b.value or len(a) != len(b):
                return False
            pairs.extend(zip(a.children, b.children, strict=True))
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [repr(self.value), *map(repr, self.children)]
        return f"Tree({', '.join(parts)})"
