"""The images that a command finds: folders, patterns, lists, URLs, standard input."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import typer
from support.commands import Command
from support.server import ServerProcess

from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.cli.sources.downloads import MAX_BYTES
from convscope.client.cli.sources.source import Source

pytestmark = pytest.mark.one_transport("reads images")

JPEG = b"\xff\xd8\xff\xe0 and so on"
ODD_NAMES = [
    "new\nline.jpg",
    "\udcff.jpg",
    "=1+1.jpg",
    "-x.jpg",
    'a, "b".jpg',
    "[b]*.jpg",
    "p|q.jpg",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, content: bytes = JPEG) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def find(*images: str, recursive: bool = True) -> list[Source]:
    return list(ImageArguments(images, recursive=recursive))


def names(*images: str) -> list[str]:
    found = find(*images)
    assert [source.error for source in found] == [None] * len(found)
    return [source.name for source in found]


def error(*images: str, recursive: bool = True) -> str:
    (source,) = find(*images, recursive=recursive)
    assert source.error is not None
    return source.error.message


@pytest.mark.usefixtures("folder")
def test_folders_are_searched_in_the_order_of_names() -> None:
    write("photos/b.JPG", "photos/a/2.png", "photos/a/1.webp", "photos/c/d/e/f.gif")
    expected = ["photos/a/1.webp", "photos/a/2.png", "photos/b.JPG", "photos/c/d/e/f.gif"]
    assert names("photos") == names("photos/") == expected


@pytest.mark.usefixtures("folder")
def test_only_images_of_a_folder_are_found() -> None:
    write("photos/a.jpg", "photos/without_suffix", "photos/odd.suffix")
    write("photos/notes.txt", "photos/README", content=b"BM, a letter")
    write("photos/.DS_Store", "photos/._a.jpg", "photos/.thumbnails/a.jpg")
    os.mkfifo("photos/pipe.jpg")
    images = ImageArguments(["photos"], recursive=True)
    assert [source.name for source in images] == [
        "photos/a.jpg",
        "photos/odd.suffix",
        "photos/without_suffix",
    ]
    assert images.skipped == {".txt": 1, "without a suffix": 1}


@pytest.mark.usefixtures("folder")
def test_links_are_followed_and_loops_end() -> None:
    write("photos/a.jpg", "photos/sub/b.jpg", "elsewhere/c.jpg", "elsewhere/d.jpg")
    Path("photos/sub/up").symlink_to("..")
    Path("photos/again").symlink_to("sub")
    Path("photos/more").symlink_to(Path("elsewhere").resolve())
    Path("elsewhere/back").symlink_to(Path("photos").resolve())
    Path("photos/link.jpg").symlink_to("a.jpg")
    assert names("photos") == [
        "photos/a.jpg",
        "photos/link.jpg",
        "photos/more/c.jpg",
        "photos/more/d.jpg",
        "photos/sub/b.jpg",
    ]


@pytest.mark.usefixtures("folder")
def test_broken_links_to_images_are_reported() -> None:
    write("photos/a.jpg")
    Path("photos/gone.jpg").symlink_to("nowhere")
    Path("photos/self.png").symlink_to("self.png")
    Path("photos/gone.txt").symlink_to("nowhere")
    found = {source.name: source.error for source in find("photos")}
    assert set(found) == {"photos/a.jpg", "photos/gone.jpg", "photos/self.png"}
    assert "points to a file that does not exist" in str(found["photos/gone.jpg"])
    assert "can't be read" in str(found["photos/self.png"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_cannot_be_read_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as public:
        Path(public).chmod(0o755)
        monkeypatch.chdir(public)
        write("photos/a.jpg", "photos/private/b.jpg", "photos/z.jpg")
        Path("photos/private").chmod(0)
        os.seteuid(65534)
        try:
            found = find("photos")
        finally:
            os.seteuid(0)
        monkeypatch.undo()
    assert [source.name for source in found] == ["photos/a.jpg", "photos/private", "photos/z.jpg"]
    assert "the folder 'photos/private' can't be read: Permission" in str(found[1].error)


@pytest.mark.usefixtures("folder")
def test_arguments_without_images_are_errors() -> None:
    Path("empty").mkdir()
    write("texts/a.txt", "texts/b.txt", content=b"text")
    assert error("empty") == "no image in the folder 'empty'"
    assert error("texts") == "no image in the folder 'texts', only 2 other files"
    assert error("empty/*.jpg") == "no image matches 'empty/*.jpg'"
    assert error("nowhere/**/*.jpg") == "no image matches 'nowhere/**/*.jpg'"
    assert error("texts", recursive=False) == (
        "'texts' is a folder; add -r to use the images in it"
    )
    assert "no http or https URL" in error("ftp://host/a.jpg")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/*.jpg", ["p/a.jpg"]),
        ("p/**/*.jpg", ["p/a.jpg", "p/x/b.jpg", "p/x/y/c.jpg"]),
        ("p/*/*.jpg", ["p/x/b.jpg"]),
        ("p/x/**", ["p/x/b.jpg", "p/x/y/c.jpg"]),
        ("**/[bc].jpg", ["p/x/b.jpg", "p/x/y/c.jpg"]),
        ("?/x/y/?.*", ["p/x/y/c.jpg"]),
        ("p/.*.jpg", ["p/.h.jpg"]),
        ("./p/a.*", ["./p/a.jpg"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_patterns_match_as_in_a_shell(pattern: str, expected: list[str]) -> None:
    write("p/a.jpg", "p/.h.jpg", "p/x/b.jpg", "p/x/y/c.jpg", "p/.hidden/d.jpg")
    write("p/a.txt", content=b"text")
    assert names(pattern) == expected


def test_an_absolute_pattern(folder: Path) -> None:
    write("p/a.jpg")
    assert names(f"{folder}/*/a.jpg") == [f"{folder}/p/a.jpg"]


@pytest.mark.usefixtures("folder")
def test_a_file_whose_name_looks_like_a_pattern_is_a_file() -> None:
    write("[b]*.jpg", "b1.jpg")
    assert names("[b]*.jpg") == ["[b]*.jpg"]


@pytest.mark.usefixtures("folder")
def test_names_open_their_files_and_are_no_formulas() -> None:
    write(*ODD_NAMES)
    for name in ODD_NAMES:
        (source,) = find(name)
        assert source.name.isprintable() or name == "new\nline.jpg"
        assert not source.name.startswith(("=", "-"))
        assert isinstance(source.image, str)
        assert Path(source.image).read_bytes() == JPEG
    assert names("=1+1.jpg", "\udcff.jpg") == ["./=1+1.jpg", r"\xff.jpg"]


def test_the_folder_for_pictures_is_not_searched(folder: Path) -> None:
    write("photos/a.jpg", "photos/maps/a.png")
    for argument in ("photos", "photos/**/*.*"):
        images = ImageArguments([argument], recursive=True, save=Path("photos/maps"))
        assert [source.name for source in images] == ["photos/a.jpg"]


def test_an_image_of_a_list_has_the_place_of_its_whole_path(folder: Path) -> None:
    write("p/a.jpg", "q/a.jpg")
    content = f"p/a.jpg\n../{folder.name}/q/a.jpg\nhttps://host:80/x/a.jpg\n"
    Path("list").write_text(content)
    images = ImageArguments(["p"], recursive=True, list_file=Path("list"))
    first, *others = (source.place for source in images)
    assert first.endswith(f"{folder.name}/p/a.jpg")
    assert others == ["p/a.jpg", f"_/{folder.name}/q/a.jpg", "host_80/x/a.jpg"]


@pytest.mark.usefixtures("folder")
def test_the_images_of_a_folder_are_counted_for_the_progress() -> None:
    write("p/a.jpg", "p/x/b.jpg")
    write("p/notes.txt", content=b"text")
    images = ImageArguments(["p"], recursive=True)
    assert images.count() is None
    assert images.count_by_search() == 2
    assert images.skipped.total() == 0
    assert ImageArguments(["-"]).count_by_search() is None


def test_a_large_folder_is_not_held_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.client.cli.sources.walk.MAX_SORTED", 3)
    write(*(f"photos/{number}.jpg" for number in range(20)))
    found = iter(ImageArguments(["photos"], recursive=True))
    first = next(found)
    Path("photos/late.jpg").write_bytes(JPEG)
    others = [source.name for source in found]
    assert len({first.name, *others} - {"photos/late.jpg"}) == 20


def test_lists_may_end_lines_in_any_way(folder: Path) -> None:
    write("a.jpg", "b c.jpg", "new\nline.jpg")
    Path("list.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\n\nb c.jpg")
    images = ImageArguments([], list_file=Path("list.txt"))
    assert [source.name for source in images] == ["a.jpg", "b c.jpg"]
    Path("list0").write_bytes(b"a.jpg\0new\nline.jpg\0")
    images = ImageArguments([], list_file=Path("list0"), null=True)
    assert [source.name for source in images] == ["a.jpg", "new\nline.jpg"]
    assert images.count() == 2
    (source,) = ImageArguments([], list_file=Path("list0"))
    assert source.error is not None
    assert source.error.message.endswith("end with NUL; add -0")


# With a server


def piped(
    server: ServerProcess, stdin: bytes, *arguments: str
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "convscope.client", "classify", "--model", "tiny"]
    return subprocess.run(
        [*command, "--server", server.target, "--format", "csv", "--top-k", "1", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )


def test_an_image_on_standard_input(tiny_server: ServerProcess, photos: dict[str, Path]) -> None:
    done = piped(tiny_server, photos["blue"].read_bytes(), "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith(b"-,blue,2,0.")
    empty = piped(tiny_server, b"", "-")
    assert (empty.returncode, empty.stderr) == (1, b"error: standard input is empty\n")
    text = piped(tiny_server, b"no image", "-")
    assert text.stderr.startswith(b"error: standard input: the 8 bytes are not an image; use JPEG")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_an_image_is_not_read_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import pty

    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with pytest.raises(typer.BadParameter, match=r"< IMAGE$"):
            ImageArguments(["-"])
    os.close(ours)


def test_a_list_on_standard_input(tiny_server: ServerProcess, photos: dict[str, Path]) -> None:
    listed = b"".join(os.fsencode(path) + b"\0" for path in photos.values())
    done = piped(tiny_server, listed, "--from-file", "-", "-0")
    labels = [row.split(b",")[1].decode() for row in done.stdout.splitlines()[1:]]
    assert labels == list(photos)


@pytest.fixture
def web(photos: dict[str, Path]) -> Iterator[str]:
    """A web server with an image, a redirect to a file, and one that is too large."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: dict[str, Callable[[], None]] = {
                "/red.png?size=1": functools.partial(self._send, photos["red"].read_bytes()),
                "/large": functools.partial(self._send, bytes(MAX_BYTES + 1)),
                "/moved": functools.partial(self._redirect, "/red.png?size=1"),
                "/file": functools.partial(self._redirect, "file:///etc/passwd"),
                "/page": functools.partial(self._send, b"<html>"),
            }
            answers.get(self.path, lambda: self.send_error(404))()

        def _send(self, content: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def _redirect(self, target: str) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_urls_are_downloaded(
    tiny_server: ServerProcess, web: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    paths = ["/red.png?size=1", "/moved", "/missing", "/large", "/file", "/page"]
    urls = [f"{web}{path}" for path in paths]
    command = Command(tiny_server.target)
    done = command(
        *("classify", *urls, str(photos["blue"]), "--model", "tiny"),
        *("--format", "csv", "--feature-maps", "conv", "--save", tmp_path),
    )
    assert done.returncode == 2
    rows = [row.split(",") for row in done.stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [
        (urls[0], "red"),
        (urls[1], "red"),
        (str(photos["blue"]), "blue"),
    ]
    errors = done.stderr.splitlines()[:4]
    assert errors[0] == f"error: {urls[2]}: its server answers 404 Not Found"
    assert errors[1] == f"error: {urls[3]}: it has more than 32 MiB"
    assert errors[2].startswith(f"error: {urls[4]}: ")
    assert "not an image" in errors[3]
    saved = [path.name for path in tmp_path.rglob("*.conv.png")]
    assert sorted(saved) == [
        "blue.png.tiny.conv.png",
        "moved.tiny.conv.png",
        "red-9175b824.png.tiny.conv.png",
    ]


def test_a_file_whose_name_starts_like_an_option_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dash.png").write_bytes(photos["red"].read_bytes())
    done = Command("localhost:1")("classify", "-dash.png", "--model", "tiny")
    assert done.returncode == 64
    assert "if you mean the file, write './-dash.png'" in " ".join(done.stderr.split())
