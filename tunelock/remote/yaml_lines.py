"""On which line of a YAML file each key stands."""

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

Place = tuple[int | str, ...]  # the keys and numbers that lead to a value


def find_lines(text: str) -> dict[Place, int]:
    """The line, from 1, of each key and list entry of a YAML text that has been found to be sound."""
    lines: dict[Place, int] = {}
    root = YAML(typ="safe", pure=True).compose(text)
    if root is not None:
        _note_lines(root, (), lines)
    return lines


def _note_lines(node: Node, place: Place, lines: dict[Place, int]) -> None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            lines[*place, str(key.value)] = key.start_mark.line + 1
            _note_lines(value, (*place, str(key.value)), lines)
    if isinstance(node, SequenceNode):
        for number, entry in enumerate(node.value):
            lines[*place, number] = entry.start_mark.line + 1
            _note_lines(entry, (*place, number), lines)
