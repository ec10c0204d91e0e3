"""Files of `import` as people have them: what is read out of them, and what is refused with which sentence."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from worker.engine.imported import Given
from worker.operate.import_file.file_lines import ImportFileRefused, Refused, lines


def read(content: bytes, notes: list[str] | None = None) -> list[Given | Refused]:
    heard: list[str] = [] if notes is None else notes
    return list(lines(io.BytesIO(content), "EVAL{}".format, heard.append))


def given(content: bytes) -> list[Given]:
    found = read(content)
    assert all(isinstance(line, Given) for line in found), found
    return [line for line in found if isinstance(line, Given)]


WANTED = [
    Given(
        number=2,
        trader_id="0077",
        user_name="jane77",
        order_id="00100234",
        account_name="EVAL1",
        purchased_at=datetime(2026, 11, 20, 6, tzinfo=UTC),  # the day in Chicago
    ),
    Given(number=3, trader_id="cust, 78", user_name="bob", order_id="100235", account_name="EVAL100235", derived=True),
]

ROWS = [
    ("traderId", "userName", "orderId", "accountName", "purchasedAt"),
    ("0077", "jane77", "00100234", "EVAL1", "2026-11-20"),
    ("cust, 78", "bob", "100235", "", ""),
]


@pytest.mark.parametrize(
    ("delimiter", "end", "encoding"),
    [
        (",", "\n", "utf-8"),
        (";", "\r\n", "utf-8-sig"),
        ("\t", "\r\n", "utf-16"),
        (";", "\r", "utf-8"),
        ("|", "\n", "utf-8"),
    ],
)
def test_a_table_is_read_however_a_spreadsheet_writes_it(delimiter: str, end: str, encoding: str) -> None:
    """Delimiter, quotes, line ends, a byte order mark and leading zeros: the same two lines."""
    content = end.join(delimiter.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in ROWS) + end + end
    assert given(content.encode(encoding)) == WANTED


def test_columns_come_in_any_order_and_under_names_that_people_write() -> None:
    """`Trader ID` is traderId; a column of the firm's own is named once and not used; a first line `sep=;` is known."""
    notes: list[str] = []
    content = b'sep=;\nE-Mail;Account_ID;user id;TRADER ID\nx@example.com;="0098";7;="007"\n'
    assert read(content, notes) == [Given(number=3, trader_id="007", user_id=7, account_id=98)]
    assert notes == ["Columns that are not used: E-Mail."]


def test_json_lines_are_read_with_the_same_fields() -> None:
    """Numbers may be texts of digits and ids numbers; times have their zone; blank lines are nothing."""
    content = (
        b'\xef\xbb\xbf{"traderId": 77, "userId": "29721", "accountId": 98765}\n\n'
        b'{"traderId": "t", "userName": "jane", "orderId": null, "purchasedAt": "2026-11-20T23:00:00+01:00"}\n'
    )
    assert given(content) == [
        Given(number=1, trader_id="77", user_id=29721, account_id=98765),
        Given(number=3, trader_id="t", user_name="jane", purchased_at=datetime(2026, 11, 20, 22, tzinfo=UTC)),
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("1.23E+05,7,,,", "traderId is 1.23E+05: a spreadsheet has rounded it"),
        ('t,7,"1,2E+11",,', "orderId is 1,2E+11: a spreadsheet has rounded it"),
        ("t,2.97E+04,,,", "userId is 2.97E+04: a spreadsheet has rounded it"),
        (",7,,,", "traderId is missing"),
        ("t,,,,", "userId or userName is missing"),
        ("t,29721.0,,,", "userId must be a number of Tradovate's"),
        ("t,-7,,,", "userId must be a number of Tradovate's"),
        ("t,7,,99999999999999999999,", "accountId must be a number of Tradovate's"),
        (f"{'t' * 129},7,,,", "longer than 128 characters"),
        ("t\x00,7,,,", "cannot be printed"),
        ("t,7,,,20.11.2026", "purchasedAt must be a date as 2026-11-20"),
        ("t,7,,,2026-02-30", "purchasedAt must be a date as 2026-11-20"),
        ("t,7,o,8,,too much", "The line has 6 cells, and the first line names 5 columns"),
        ("t\udce4,7,,,", "traderId is not UTF-8"),
        ("t,7,,,1899-12-30", "purchasedAt must be a date as 2026-11-20"),
        ("t,7,,,0001-01-01T00:00:00+14:00", "purchasedAt must be a date as 2026-11-20"),
        ("t;7;;;", "not separated by commas, as those of the first line are"),
        (f"t,7,{'o' * 200_000},,", "A cell is longer than 131,072 characters"),
        (f"t,7,{'o' * 9}{',' * 2_000_000}", "The line is longer than 1,048,576 characters"),
    ],
)
def test_a_line_that_cannot_be_right_is_refused_alone(row: str, sentence: str) -> None:
    """Each broken rule names its column and the fix; the lines around it are read."""
    table = f"traderId,userId,orderId,accountId,purchasedAt\na,1,,,\n{row}\nb,2,,,\n"
    first, refused, last = read(table.encode(errors="surrogateescape"))
    assert (first, last) == (Given(number=2, trader_id="a", user_id=1), Given(number=4, trader_id="b", user_id=2))
    assert isinstance(refused, Refused)
    assert refused.number == 3
    assert sentence in refused.sentence


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"traderId": "t", "userId": 1.5}', "userId is 1.5: it must be written as a text or an integer"),
        ('{"traderId": 1.23E+05, "userId": 1}', "a spreadsheet has rounded it"),
        ('{"traderId": ["t"], "userId": 1}', "traderId must be a text"),
        ('{"traderId": "t", "userId": true}', "userId must be a number"),
        ('{"traderId": "t", ', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('"text"', "no JSON object"),
        ('{"traderId": "t", "userId": 7, "acountId": 9}', 'no field "acountId"; did you mean accountId?'),
        ('{"traderId": "t", "userId": 7, "trader ID": "x"}', "The field traderId is there twice"),
        (f'{{"traderId": "t", "userId": 7, "x": "{"x" * 2_000_000}"}}', "The line is longer than 1,048,576 characters"),
    ],
)
def test_a_json_line_that_cannot_be_right_is_refused_alone(line: str, sentence: str) -> None:
    """Types are not guessed; the lines around it are read, whatever people call their fields."""
    before, refused, after = read(
        b'{"traderId": "a", "userId": 1}\n' + line.encode() + b'\n{"TraderID": 2, "user_id": 3}'
    )
    assert (before, after) == (Given(number=1, trader_id="a", user_id=1), Given(number=3, trader_id="2", user_id=3))
    assert isinstance(refused, Refused)
    assert sentence in refused.sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty"),
        (b"a,b\n1,2\n", "names no column that is known"),
        (b"traderId,orderId\n1,2\n", "needs the columns traderId, and userId or userName"),
        (b"traderId,userId,ordreId\n1,2,3\n", 'no column "ordreId"; did you mean orderId?'),
        (b"traderId,userId,trader id\n1,2,3\n", "The column traderId is there twice"),
        (b'[{"traderId": "t"}]', "one JSON array"),
        (b'traderId,userId\nt,"7\n' + b"x" * 200_000, "a quote may not be closed"),
        (b'{\n "traderId": "t",\n "userId": 7\n}\n', "JSON objects of several lines"),
        (b"PK\x03\x04\x14\x00workbook", "a workbook or an archive"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "no text in UTF-8"),
        ("traderId,userId\n1,2\n".encode("utf-16-le"), "no text in UTF-8"),
        ("traderId,userId\n1,2\n".encode("utf-32"), "no text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(content: bytes, sentence: str) -> None:
    """A misspelt column would lose what it holds: it is refused before anything is done."""
    with pytest.raises(ImportFileRefused, match=sentence.replace("?", r"\?")):
        read(content)


def test_a_file_of_utf_16_that_is_cut_off_loses_its_last_line_alone() -> None:
    """Half a character at the end is no reason to stop."""
    content = "traderId,userId,orderId\na,1,\nb,2,x".encode("utf-16")
    first, refused = read(content[:-1])
    assert first == Given(number=2, trader_id="a", user_id=1)
    assert isinstance(refused, Refused)
    assert "orderId is not UTF-8" in refused.sentence


def test_a_refused_line_can_be_reported_whole() -> None:
    """The report has the ids of a refused line as they stand, however long they are; bytes that are no text of any kind
    do not keep it from being written.
    """
    order = "o" * 300
    (refused,) = read(f"traderId,userId,orderId\nJos\udce9,x,{order}\n".encode(errors="surrogateescape"))
    assert isinstance(refused, Refused)
    assert (refused.trader_id, refused.order_id) == ("Jos?", order)
