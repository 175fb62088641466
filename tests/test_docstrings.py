"""What the docstrings of everything public say: that they are there, and the axes of every array."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "geoseg"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What an axis is called in a shape such as (band, row, column), (N, C, H, W) or (n, 2).
AXES = re.compile(
    r"[nmNCHWhw]|[HW] / \d|\d+|row|column|axis|band|channel|class|thing|tile|image|vertex|ring|point|polygon|place"
    r"|run"
    r"|true class|predicted class|bands|classes|channels|channels_in|channels_out|channels_low|height|width|tile_px"
)
# A name may say it too: image_chw, places_yx.
SUFFIX = re.compile(r"_(?:n?[ack]?hw|hwc|yx|xy|vk|nk|[hwcnk])\b")
ARRAY = re.compile(r"\b(NDArray|Tensor)\b")
# Tensors by name are of any shape, and a function that is taken says for itself what it takes.
NO_ARRAY = re.compile(r"\b(dict|Mapping|Callable)\[")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def is_overload(definition: Definition) -> bool:
    """Whether it is one of the signatures of a function, whose words stand with the function."""
    return any(isinstance(one, ast.Name) and one.id == "overload" for one in definition.decorator_list)


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public definitions under a node, by their dotted names; not those inside functions."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_") and not is_overload(child):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def names_axes(text: str) -> bool:
    """Whether a shape is in the text, as a list of axes in parentheses or by the word."""
    for group in re.findall(r"\(([^()]+,[^()]*)\)", text):
        parts = [part.strip(" `\n") for part in re.split(r",| \+ ", group)]
        if all(AXES.fullmatch(part) for part in parts if part):
            return True
    return SUFFIX.search(text) is not None or re.search(r"\bshapes?\b", text, re.IGNORECASE) is not None


def is_array(annotation: ast.expr | None) -> bool:
    text = "" if annotation is None else ast.unparse(annotation)
    return ARRAY.search(text) is not None and NO_ARRAY.search(text) is None


def entry(docstring: str, name: str) -> str:
    """What is said of one attribute."""
    found = re.search(
        rf"^    [\w, ]*\b{name}\b[\w, ]*:(.*?)(?=^    \S|^\S|\Z)", docstring, re.DOTALL | re.MULTILINE
    )
    return found[1] if found else ""


def lacking(docstring: str, definition: Definition) -> Iterator[str]:
    """Arrays that a definition takes, gives or holds and does not name the axes of."""
    if isinstance(definition, ast.ClassDef):
        for field in definition.body:
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and is_array(field.annotation)
            ):
                name = field.target.id
                if not name.startswith("_") and not names_axes(f"{name} {entry(docstring, name)}"):
                    yield name
        return
    arguments = definition.args
    taken = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    arrays = [argument.arg for argument in taken if is_array(argument.annotation)]
    if is_array(definition.returns):
        arrays.append("what it returns")
    if not names_axes(docstring):
        yield from (name for name in arrays if not SUFFIX.search(name))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_public_says_what_it_is_in_a_sentence(path: Path) -> None:
    module = ast.parse(path.read_text())
    for name, node in (("the module", module), *public(module)):
        docstring = ast.get_docstring(node)
        assert docstring, f"{path.name}: {name} has no docstring"
        first = docstring.splitlines()[0]
        assert first[-1] in ".:?", f"{path.name}: {name} does not begin with a sentence on one line: {first}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrays_have_their_axes_named(path: Path) -> None:
    wanting = [
        f"{name}: {array}"
        for name, node in public(ast.parse(path.read_text()))
        for array in lacking(ast.get_docstring(node) or "", node)
    ]
    assert not wanting, f"{path.name}: say the axes, as (row, column), of {', '.join(wanting)}"


@pytest.mark.parametrize(
    ("docstring", "named"),
    [
        ("Fields (channel, row, column) of a tile.", True),
        ("Shape (N, C, H + 1, W).", True),
        ("Polygons, shapely's, one per object (n,).", True),
        ("A window (a Tukey window, Harris 1978) of numbers.", False),
        ("The dice loss (V-Net, section 3).", False),
        ("Shapely polygons of a block.", False),
        ("The pixels, image_chw.", True),
    ],
)
def test_what_counts_as_naming_the_axes(docstring: str, named: bool) -> None:
    definition = ast.parse("def f(x: NDArray[np.uint8]) -> None: ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    assert list(lacking(docstring, definition)) == ([] if named else ["x"])


def test_each_array_of_a_class_has_its_own_axes() -> None:
    entries = "    a: The first,\n        uint8 (n,).\n    b: The second.\n    c, d: Both (row, column)."
    fields = " a: NDArray[np.uint8]\n b: NDArray[np.uint8]\n c: Tensor\n d: Tensor\n e: dict[str, Tensor]"
    definition = ast.parse(f"class Five:\n{fields}").body[0]
    assert isinstance(definition, ast.ClassDef)
    assert list(lacking(f"Five.\n\nAttributes:\n{entries}", definition)) == ["b"]
