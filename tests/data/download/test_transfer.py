"""One file over HTTP, from a server that does what servers and lines do. Its name appears when the file is right."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fgvc_cli.data.download.archives import Archive
from fgvc_cli.data.download.http import GivenUp, _redirected
from fgvc_cli.data.download.progress import Progress
from fgvc_cli.data.download.transfer import Patience, fetch
from fgvc_cli.errors import FgvcError
from tests.conftest import disk_of
from tests.data.download.server import Files, answer, cut, length, no_ranges, slowly, trickle

BODY = np.random.RandomState(0).bytes(400_000)
OTHER = np.random.RandomState(1).bytes(400_000)
QUICK = Patience(connect=10, read=10, slow=10, least=50_000, attempts=3, pause=0.01)
IMPATIENT = Patience(connect=10, read=0.4, slow=0.4, least=50_000, attempts=3, pause=0.01)


class Heard(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def refused(archive: Archive, folder: Path, patience: Patience = QUICK) -> str:
    """The message of a failed fetch, after which no file bears the archive's name."""
    with pytest.raises(FgvcError) as caught:
        fetch(archive, folder, patience=patience)
    assert not (folder / archive.file).exists()
    message = str(caught.value)
    assert "\n" not in message
    assert "--from-archive" in message
    return message


def arrived(archive: Archive, folder: Path) -> bool:
    """Fetch it; whether it is the right one and nothing else is left."""
    path = fetch(archive, folder, patience=QUICK)
    return path.read_bytes() == BODY and [path] == list(folder.iterdir())


def test_whole_in_one_go(server: Files, tmp_path: Path) -> None:
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    (asked,) = server.asked
    assert asked.range is None
    assert asked.encoding == "identity"
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert len(server.asked) == 1


def test_a_cut_line_goes_on_where_it_stopped(server: Files, tmp_path: Path) -> None:
    server.faults = [cut(150_000), cut(100_000)]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert [asked.range for asked in server.asked] == [None, "bytes=150000-", "bytes=250000-"]
    assert server.sent == len(BODY)
    assert server.asked[1].if_range


SCRIPT = """
import sys, json
from pathlib import Path
from fgvc_cli.data.download.archives import Archive
from fgvc_cli.data.download.transfer import fetch
fetch(Archive(**json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def start(archive: Archive, folder: Path) -> subprocess.Popen[bytes]:
    import json

    command = [sys.executable, "-c", SCRIPT, json.dumps(asdict(archive)), str(folder)]
    # A shell starts background jobs with SIGINT ignored, which they would pass on.
    obey = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=obey)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_is_followed_by_one_that_asks_for_the_rest(server: Files, tmp_path: Path, how: int) -> None:
    archive, part = server.archive("a.tgz", BODY), tmp_path / "a.tgz.part"
    server.faults = [slowly(200_000)]
    first = start(archive, tmp_path)
    while not (part.exists() and part.stat().st_size > 100_000):
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(how)
    first.communicate(timeout=120)
    assert first.returncode != 0
    have = part.stat().st_size
    assert part.read_bytes() == BODY[:have]
    assert not (tmp_path / "a.tgz").exists()
    second = start(archive, tmp_path)
    second.communicate(timeout=120)
    assert second.returncode == 0
    assert (tmp_path / "a.tgz").read_bytes() == BODY
    assert server.asked[1].range == f"bytes={have}-"
    assert server.asked[1].sent == len(BODY) - have


def test_a_server_without_range_starts_over(server: Files, tmp_path: Path) -> None:
    server.faults = [cut(150_000), no_ranges]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert server.asked[1].range == "bytes=150000-"


def test_a_file_that_changed_meanwhile_starts_over(server: Files, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(OTHER[:1000])
    (tmp_path / "a.tgz.part.json").write_text(f'{{"url": "{server.url}/a.tgz", "tag": "\\"old\\""}}')
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    (asked,) = server.asked
    assert (asked.range, asked.if_range, asked.sent) == ("bytes=1000-", '"old"', len(BODY))


def test_what_was_there_does_not_fit(server: Files, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(OTHER[:1000])
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert [asked.range for asked in server.asked] == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("part", "sent"), [(BODY, 0), (BODY + b"more", len(BODY)), (OTHER, len(BODY))], ids=["all", "too long", "other"]
)
def test_416_means_check(server: Files, tmp_path: Path, part: bytes, sent: int) -> None:
    (tmp_path / "a.tgz.part").write_bytes(part)
    assert arrived(server.archive("a.tgz", BODY, bytes=None), tmp_path)
    assert server.asked[0].range == f"bytes={len(part)}-"
    assert server.sent == sent


def test_all_but_the_name_was_there(server: Files, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(BODY)
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert not server.asked


def test_wrong_content(server: Files, tmp_path: Path) -> None:
    archive = server.archive("a.tgz", BODY)
    server.bodies["/a.tgz"] = OTHER
    assert "another file than the known one: it has the sha256" in refused(archive, tmp_path)
    assert not list(tmp_path.iterdir())
    assert len(server.asked) == 1


def test_md5_where_no_sha256_is_known(server: Files, tmp_path: Path) -> None:
    archive = server.archive("a.tgz", BODY, sha256="", md5="0" * 32)
    assert "it has the md5" in refused(archive, tmp_path)


def test_wrong_size_is_told_before_it_is_fetched(server: Files, tmp_path: Path) -> None:
    archive = server.archive("a.tgz", BODY, bytes=399_999)
    assert "announces 400,000 bytes instead of 399,999: another file" in refused(archive, tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_size_that_is_not_announced(server: Files, tmp_path: Path) -> None:
    def unannounced(handler, body) -> None:
        handler.head(200, {})
        handler.write(body + b"more")

    server.faults = [unannounced]
    assert "sends more than 400,000 bytes" in refused(server.archive("a.tgz", BODY), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_end_that_comes_too_early_without_a_length(server: Files, tmp_path: Path) -> None:
    def unannounced(handler, body) -> None:
        handler.head(200, {})
        handler.write(body[:150_000])

    server.faults = [unannounced]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert server.asked[1].range == "bytes=150000-"


def test_the_next_mirror(server: Files, tmp_path: Path) -> None:
    server.bodies["/old.tgz"] = OTHER
    heard = Heard()
    urls = tuple(f"{server.url}/{name}.tgz" for name in ("gone", "old", "a"))
    path = fetch(server.archive("a.tgz", BODY, urls=urls), tmp_path, heard, QUICK)
    assert path.read_bytes() == BODY
    assert [asked.path for asked in server.asked] == ["/gone.tgz", "/old.tgz", "/a.tgz"]
    assert "answers 404" in heard.lines[0]
    assert "another file" in heard.lines[1]


def test_a_mirror_goes_on_with_what_another_began(server: Files, tmp_path: Path) -> None:
    server.faults = [cut(150_000), answer(410)]
    server.bodies["/b.tgz"] = BODY
    archive = server.archive("a.tgz", BODY, urls=(f"{server.url}/a.tgz", f"{server.url}/b.tgz"))
    assert arrived(archive, tmp_path)
    last = server.asked[-1]
    assert (last.path, last.range, last.if_range) == ("/b.tgz", "bytes=150000-", None)


def test_errors_that_pass(server: Files, tmp_path: Path) -> None:
    server.faults = [answer(500), answer(503, Retry_After="0")]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)


def test_retry_after_is_heeded(server: Files, tmp_path: Path) -> None:
    server.faults = [answer(429, Retry_After="1")]
    before = time.monotonic()
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert time.monotonic() - before >= 1


def test_errors_that_stay(server: Files, tmp_path: Path) -> None:
    server.faults = [cut(150_000), *[answer(503)] * 9]
    message = refused(server.archive("a.tgz", BODY), tmp_path)
    assert "answers 503 Service Unavailable, 3 times in a row" in message
    assert "Run the same command again later (it goes on where it stopped)" in message
    assert (tmp_path / "a.tgz.part").read_bytes() == BODY[:150_000]


@pytest.mark.parametrize(
    ("fault", "what"), [(trickle(0.05, 9), "sent only"), (trickle(0.05, 0.1), "stopped sending")], ids=["slow", "dead"]
)
def test_a_trickle_and_a_time_out(server: Files, tmp_path: Path, fault: object, what: str) -> None:
    server.faults = [fault]
    heard = Heard()
    path = fetch(server.archive("a.tgz", BODY), tmp_path, heard, replace(IMPATIENT, attempts=9))
    assert path.read_bytes() == BODY
    assert what in heard.lines[0]
    assert server.asked[1].range


def test_a_line_that_only_trickles_is_given_up(server: Files, tmp_path: Path) -> None:
    server.faults = [trickle(0.05, 9)] * 9
    assert "3 times in a row" in refused(server.archive("a.tgz", BODY), tmp_path, IMPATIENT)


@pytest.mark.parametrize("target", ["/a.tgz", "{url}/a.tgz"])
def test_redirects_are_followed(server: Files, tmp_path: Path, target: str) -> None:
    server.faults = [answer(302, Location=target.format(url=server.url))]
    archive = server.archive("a.tgz", BODY, urls=(f"{server.url}/elsewhere",))
    assert arrived(archive, tmp_path)


def test_redirects_in_a_circle(server: Files, tmp_path: Path) -> None:
    server.faults = [answer(302, Location="/a.tgz")] * 20
    assert "redirects more than 10 times" in refused(server.archive("a.tgz", BODY), tmp_path)


def test_no_redirect_leaves_https() -> None:
    assert _redirected("https://a/x", "https://b/y") == "https://b/y"
    assert _redirected("http://a/x", "https://b/y") == "https://b/y"
    for target in ("http://a/x", "ftp://a/x", "file:///etc/passwd"):
        with pytest.raises(GivenUp, match="redirects from https to"):
            _redirected("https://a/x", target)


def test_a_length_that_promises_too_much(server: Files, tmp_path: Path) -> None:
    archive = server.archive("a.tgz", BODY, bytes=None)
    server.faults = [length(500_000)]
    assert arrived(archive, tmp_path)  # since the server then says that there is no more, and the checksum is right
    assert [asked.range for asked in server.asked] == [None, "bytes=400000-"]


def test_a_length_that_always_promises_too_much(server: Files, tmp_path: Path) -> None:
    def lie(handler, body) -> None:
        handler.serve(body, ranges=False, length=500_000)

    server.faults = [lie] * 9
    assert "broke the connection, 3 times in a row" in refused(server.archive("a.tgz", BODY, bytes=None), tmp_path)


def test_a_length_that_promises_too_little(server: Files, tmp_path: Path) -> None:
    server.faults = [length(100_000)]
    assert "it has the sha256" in refused(server.archive("a.tgz", BODY, bytes=None), tmp_path)
    server.faults = [length(100_000)]
    assert "announces 100,000 bytes" in refused(server.archive("a.tgz", BODY), tmp_path)


def test_a_page_instead_of_the_file(server: Files, tmp_path: Path) -> None:
    server.faults = [answer(200, b"<html>sign in</html>", Content_Type="text/html; charset=utf-8")]
    assert "sends a web page instead of the file" in refused(server.archive("a.tgz", BODY), tmp_path)


def test_another_part_than_was_asked_for(server: Files, tmp_path: Path) -> None:
    (tmp_path / "a.tgz.part").write_bytes(BODY[:1000])
    server.faults = [answer(206, BODY[500:], Content_Range=f"bytes 500-{len(BODY) - 1}/{len(BODY)}")]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)


def test_bytes_that_a_server_calls_packed_are_kept_as_they_are(server: Files, tmp_path: Path) -> None:
    server.faults = [answer(200, BODY, Content_Encoding="gzip")]
    assert arrived(server.archive("a.tgz", BODY), tmp_path)


def test_nobody_listens(tmp_path: Path) -> None:
    archive = Archive("a.tgz", ("x",), urls=("http://127.0.0.1:9/a.tgz",), md5="0" * 32)
    assert "127.0.0.1 cannot be reached" in refused(archive, tmp_path)


def test_a_proxy_of_the_environment_is_used(server: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    archive = server.archive("a.tgz", BODY, urls=("http://files.example/a.tgz",))
    server.bodies["http://files.example/a.tgz"] = BODY
    assert arrived(archive, tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "a.tgz").unlink()
    assert arrived(server.archive("a.tgz", BODY), tmp_path)
    assert [asked.path for asked in server.asked] == ["http://files.example/a.tgz", "/a.tgz"]


def test_a_file_of_that_name_that_is_another(server: Files, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(OTHER)
    with pytest.raises(FgvcError, match=r"a\.tgz: has the sha256 .* delete it and run the same command again"):
        fetch(server.archive("a.tgz", BODY), tmp_path)
    assert not server.asked


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with disk_of(tmp_path / "disk", mebibytes=1) as folder:
        yield folder


def test_a_disk_that_fills_up(server: Files, small_disk: Path) -> None:
    body = BODY * 4
    archive = server.archive("a.tgz", body)
    with pytest.raises(FgvcError, match=r"the disk is full after 1\.0. MB; free some space and run the same command"):
        fetch(archive, small_disk, patience=QUICK)
    part = small_disk / "a.tgz.part"
    assert part.read_bytes() == body[: part.stat().st_size]
    assert not (small_disk / "a.tgz").exists()
    have = part.stat().st_size
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert fetch(archive, small_disk, patience=QUICK).read_bytes() == body
    assert server.asked[-1].range == f"bytes={have}-"


def test_a_folder_that_is_not_writable(server: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FgvcError, match=r"cannot be written .* choose another folder with --root"):
        fetch(server.archive("a.tgz", BODY), tmp_path / "file" / "deeper", patience=QUICK)


def test_what_is_told(server: Files, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []

    class Watching(Progress):
        def advance(self, what: str, done: int, total: int | None, unit: str = "bytes") -> None:
            steps.append((what, done, total))

    fetch(server.archive("a.tgz", BODY), tmp_path, Watching(), QUICK)
    fetching = [step for step in steps if step[0] == "fetching a.tgz"]
    assert fetching[-1] == ("fetching a.tgz", len(BODY), len(BODY))
    assert steps[-1] == ("checking a.tgz", len(BODY), len(BODY))
    counts = [done for _, done, _ in fetching]
    assert counts == sorted(counts)
