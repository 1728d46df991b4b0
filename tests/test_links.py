"""Links of the documentation: files and headings that they name exist; addresses of the web are well formed."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
GENERATED = "docs/reference/"  # written by docs/conf.py; Sphinx checks these
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "configs/**/*.md", "tests/**/*.md")
    for page in ROOT.glob(pattern)
    if not {"_build", "jupyter_execute", "reference", "_extra"} & set(page.parts)
)


def prose(page):
    """The text of a page without its code, where brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```+).*?^\1", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))


def anchors(page):
    """Names of the headings of a page, as GitHub and Sphinx make them."""
    text = re.sub(r"^(```+).*?^\1", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def fault(page, target):
    """What is wrong with a link of a page; None if nothing is."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        host = r"[a-z0-9-]+(\.[a-z0-9-]+)+"
        return None if re.fullmatch(host, parts.netloc) and not re.search(r"[\s<>\"]", target) else "no address"
    if parts.scheme or parts.netloc:
        return "neither a file nor https"
    other = page if not parts.path else (page.parent / parts.path).resolve()
    if not other.exists():
        return None if GENERATED in other.as_posix() else "no such file"
    if not other.is_relative_to(ROOT):
        return "outside of the project"
    if parts.fragment and (other.suffix != ".md" or parts.fragment not in anchors(other)):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_link_leads_somewhere(page):
    path = ROOT / page
    text = prose(path)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"<(https?:[^>\s]+)>", text)
    targets += re.findall(r"^```\{(?:image|figure|include|literalinclude)\} (\S+)", path.read_text(), re.MULTILINE)
    assert {target: wrong for target in targets if (wrong := fault(path, target))} == {}


def test_faults_of_links_are_found(tmp_path):
    page = ROOT / "README.md"
    assert fault(page, "docs/no_such_page.md") == "no such file"
    assert fault(page, "docs/trust.md#no-such-heading") == "no such heading"
    assert fault(page, "https://nodots") == "no address"
    assert fault(page, "ftp://example.org/x") == "neither a file nor https"
    assert fault(page, "../../etc") in ("outside of the project", "no such file")
    assert fault(page, "docs/trust.md#verdicts-of-a-flow") is None
    assert fault(page, "#two-commands") is None
