"""Words: what stands between spaces, tabs and newlines, and is more than special characters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dj_assets.operators._text import SPECIAL_CHARACTERS
from dj_assets_tests.operators.captions import RECORDS
from dj_assets_tests.operators.on_records import judged, kept


def test_words_are_counted_as_data_juicer_counts_them() -> None:
    assert [judged("words_num_filter", record) for record in RECORDS] == [7, 0, 0, 4, 3, 3, 4, 2, 2, 3, 2, 2]


def test_a_video_token_is_a_word_as_upstream() -> None:
    assert judged("words_num_filter", {"text": "<__dj__video> dog"}) == 2
    assert judged("words_num_filter", {"text": "<__dj__video><__dj__video>"}) == 1


@given(st.text(alphabet=st.sampled_from("aé一上★👍 \t\n\r\u00a0-_<>.1½"), max_size=30))
@example("- a-")
def test_the_number_is_that_of_the_definition(text: str) -> None:
    """Upstream strips special characters off both ends of each piece, one by one, and counts what is left."""
    special = set(SPECIAL_CHARACTERS)
    pieces = text.replace("\n", " ").replace("\t", " ").split(" ")
    count = sum(any(character not in special for character in piece) for piece in pieces)
    assert judged("words_num_filter", {"text": text}) == count


@pytest.mark.parametrize("character", ["!", "7", " ", "“", "。", "★", "👍", "🫨", "ー", "\u200b", "½"])
def test_special_characters_alone_are_no_word(character: str) -> None:
    assert judged("words_num_filter", {"text": f"{character} {character * 3} a{character}"}) == 1


@pytest.mark.parametrize("character", ["a", "é", "语", "₿", "®x"])
def test_others_are(character: str) -> None:
    assert judged("words_num_filter", {"text": character}) == 1


def test_those_are_kept_that_data_juicer_keeps() -> None:
    assert kept("words_num_filter", RECORDS, min_num=2, max_num=5) == [3, 4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("options", [{"lang": "en"}, {"lang": "zh", "tokenization": False}], ids=str)
def test_the_language_moves_nothing_without_a_tokenizer(options: dict[str, Any]) -> None:
    assert kept("words_num_filter", RECORDS, min_num=7, **options) == [0]
