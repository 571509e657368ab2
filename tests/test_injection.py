"""No text of a record is markup on the board: pages have the same structure whatever it says."""

import pytest
from markdown_it import MarkdownIt
from record_factory import failed, record
from test_site import HOSTILE, with_text

from bbh_bench.leaderboard import pages

GITHUB = MarkdownIt("gfm-like", {"linkify": False})
MARKUP = [
    *HOSTILE,
    "EVIL <!-- EVIL",
    "<http://EVIL.org>",
    "EVIL\\|x",
    "- EVIL",
    "+ EVIL - EVIL",
    "1. EVIL 2) EVIL",
    "> EVIL",
    ">EVIL",
    "# EVIL ## EVIL",
    "EVIL === EVIL ---",
    "***EVIL***",
    "__EVIL__",
    "_EVIL_",
    "~~EVIL~~",
    "~~~ EVIL",
    "[EVIL]: http://x",
    "![EVIL](http://EVIL.org/beacon.png)",
    "[EVIL](http://EVIL.org)",
    "[EVIL][EVIL]",
    "EVIL\\",
    "EVIL`",
    "&lt;EVIL&gt; &#91;EVIL&#93;",
]
NO_STRUCTURE = {"text", "text_special", "softbreak"}


def structure(page):
    """The kinds of a page's elements, without text."""
    tokens = [token for block in GITHUB.parse(page) for token in (block, *(block.children or []))]
    return [token.type for token in tokens if token.type not in NO_STRUCTURE]


@pytest.mark.parametrize("base", [record(), failed()], ids=["finished", "failed"])
@pytest.mark.parametrize("text", MARKUP, ids=lambda text: ascii(text)[:30])
def test_a_text_of_a_record_is_text_on_the_board(base, text):
    harmless = "E" + "x" * (len(" ".join(text.split())) - 1)
    expected = pages([with_text(base, harmless)])
    shown = pages([with_text(base, text)])
    assert [structure(page) for page in shown.values()] == [structure(page) for page in expected.values()]
    for page in shown.values():
        assert not any(token.type in {"html_block", "html_inline"} for token in GITHUB.parse(page))
