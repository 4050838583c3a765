"""The documents: links lead somewhere, and each kind has its place."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def documents() -> Iterator[Path]:
    yield from (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md"))


def test_every_link_leads_to_a_file() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in _LINK.findall(path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_document_is_of_a_kind() -> None:
    kinds = {path.relative_to(ROOT / "docs").parts[0] for path in (ROOT / "docs").rglob("*.md")}
    assert kinds == {"concepts", "how-to", "reference", "operating", "decisions", "benchmarks.md", "scaling.md"}


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_readme_leads_to_every_document_but_decisions() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [
        str(path.relative_to(ROOT))
        for path in documents()
        if path.name != "README.md" and "decisions" not in path.parts and str(path.relative_to(ROOT)) not in text
    ]
    assert missing == [], "link it from README.md, under Reading on"
