"""Captions, for which Data-Juicer 1.6.1 was asked for its numbers and for the samples that it keeps."""

CAPTIONS = (
    "<__dj__video> a man rides a horse <|__dj__eoc|>",
    "",
    "   ",
    "one\ttwo\nthree  four",
    "don't -- stop!! 42 times",
    "👍🏽 hello 👩‍👩‍👧 world☺",
    "naïve café 日本語 テスト",
    "½ ² ① x²",
    "\u00a0nbsp\u2003em space",
    "100% __init__ a_b ... --- 上海 一 士",
    "a\r\nb\x0bc",
    "<__dj__video><__dj__video>two clips",
)
RECORDS = [{"text": text} for text in CAPTIONS]
