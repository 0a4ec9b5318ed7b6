"""Decode images that are cheap to send, and print what each costs before and after.

`python -m bench.attack_images [--checkout PATH] [PART OF A NAME ...]`

Each image is decoded by the server's preprocessor, with the default limits, in a process of
its own. The process ends after 20 s of CPU time. The figures before are those of the version
that checked the sizes and the number of segments. The process in which lossless WebP is decoded
has its own limits: 3 s, and 24 MiB beside 5 bytes for each pixel. `--checkout` measures the
server of another checkout.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("proto", "bundle", "client", "server")
MAX_CPU_SECONDS = 20
LIMITS = "limit: 2 s of CPU and 96 MiB"
# Seconds of CPU and MiB, of the version before the check of the structure.
BEFORE: dict[str, tuple[str, str]] = {
    "JPEG, Exif segments of 4 KB": (">20", "-"),
    "JPEG, 1 MB of Exif segments": ("0.02", "4"),
    "JPEG, 2 MB of Exif segments": ("0.03", "7"),
    "JPEG, 16 MB of Exif segments": ("2.73", "63"),
    "JPEG, 16 MB of small Exif segments": ("0.00", "0"),
    "JPEG, 8 MB of fill bytes": ("0.00", "0"),
    "JPEG, fill bytes in the scan": ("0.41", "33"),
    "JPEG, stuffed bytes in the scan": ("0.03", "32"),
    "JPEG, stuffed bytes and two ends": ("0.32", "32"),
    "JPEG, ICC segments": ("0.02", "16"),
    "JPEG, small ICC segments": ("0.00", "0"),
    "JPEG, comments": ("0.00", "0"),
    "JPEG, Photoshop resources": ("1.29", "16"),
    "JPEG, quantization tables": ("1.58", "0"),
    "JPEG, comments between scans": ("0.02", "16"),
    "JPEG, 65 scans": ("0.00", "0"),
    "JPEG, 64 scans of 16 megapixels": ("1.01", "95"),
    "JPEG, 24 scans of 16 megapixels": ("0.36", "50"),
    "JPEG, restart markers": ("2.18", "730"),
    "JPEG, arithmetic coding": ("0.03", "4"),
    "JPEG, progressive CMYK of 16 megapixels": ("0.20", "126"),
    "JPEG, tiny data for 16 megapixels": ("0.01", "5"),
    "PNG, RGBA of 16 megapixels": ("0.37", "100"),
    "PNG, RGBA of 16 bits, Paeth filter": ("0.82", "100"),
    "PNG, interlaced, 16 bits": ("0.40", "100"),
    "PNG, gray of 16 bits": ("0.17", "73"),
    "PNG, empty chunks": ("9.20", "149"),
    "PNG, one byte of pixels per chunk": ("7.56", "0"),
    "PNG, text bombs": ("0.02", "5"),
    "PNG, profile bombs": ("0.01", "4"),
    "PNG, XMP bomb": ("0.01", "5"),
    "PNG, empty stored blocks": ("0.05", "14"),
    "PNG, empty dynamic blocks": ("1.81", "100"),
    "PNG, large palette": ("0.05", "28"),
    "PNG, frames of an animation": ("0.03", "0"),
    "WebP, lossy of 16 megapixels": ("0.37", "244"),
    "WebP, lossy RGBA of 16 megapixels": ("0.68", "244"),
    "WebP, lossless of 16 megapixels": ("2.24", "244"),
    "WebP, lossless of 9 megapixels": ("1.37", "137"),
    "WebP, lossless noise": ("0.06", "21"),
    "WebP, animation of 16 megapixels": ("0.83", "244"),
    "WebP, 100,000 frames": ("0.51", "268"),
    "WebP, empty chunks": ("0.09", "45"),
    "WebP, 16 MB of XMP": ("0.11", "45"),
    "WebP, 65,536 groups of codes": ("0.78", "364"),
    "GIF, extensions": ("0.02", "0"),
    "GIF, a comment of small blocks": ("0.01", "0"),
    "GIF, a comment of large blocks": ("0.06", "39"),
    "GIF, clear codes": ("0.18", "16"),
    "GIF, 16 megapixels": ("0.15", "33"),
    "GIF, one pixel on 16 megapixels": ("0.10", "18"),
    "BMP, short runs": ("5.92", "0"),
    "BMP, empty lines": ("2.68", "46"),
    "BMP, 4 bits": ("0.07", "0"),
    "BMP, runs of 1 megapixel": ("0.35", "0"),
    "JPEG, 1 MB of small Exif segments": ("0.00", "0"),
    "JPEG, 64 scans of 6 megapixels": ("0.35", "42"),
}


def main() -> None:
    """Print the table."""
    arguments = _parse()
    sys.path.insert(0, str(ROOT / "tests"))
    from support.attack_images import ATTACKS

    print(f"{'finding':42}{'bytes':>12}{'before':>20}{'after':>20}  reply   ({LIMITS})")
    for name, make in ATTACKS.items():
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        data = make()
        seconds, mib, reply = _decode(data, arguments.checkout)
        before = _shown(*BEFORE.get(name, ("", "")))
        print(
            f"{name:42}{len(data):12,}{before:>20}{_shown(seconds, mib):>20}  {reply}", flush=True
        )


def _shown(seconds: str, mib: str) -> str:
    return f"{seconds:>6} s {mib:>5} MiB" if seconds else ""


def _decode(data: bytes, checkout: Path) -> tuple[str, str, str]:
    """Return the CPU time in seconds, the memory in MiB and the reply of one decoding."""
    path = os.pathsep.join(str(checkout / room) for room in ROOMS)
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {path.split(os.pathsep)}\n{CHILD}",
    ]
    process = subprocess.run(command, input=data, capture_output=True, check=False)
    if process.returncode < 0:
        return f">{MAX_CPU_SECONDS}", "-", f"ended by signal {-process.returncode}"
    if process.returncode:
        raise RuntimeError(process.stderr.decode())
    seconds, mib, reply = process.stdout.decode().split("\t")
    return seconds, mib, reply.strip()


CHILD = f"""
import re, resource
from pathlib import Path
from time import process_time

import convscope
convscope.__path__ = [f"{{folder}}/convscope" for folder in sys.path[:4]]
from convscope.server.errors import ServingError
from convscope.server.inference.decoding.preprocessor import Preprocessor
from convscope.server.inference.settings import InferenceSettings
from convscope.v1 import manifest_pb2 as pb

def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(re.search(name + r":\\s+(\\d+)", status)[1]) / 1024

data = sys.stdin.buffer.read()
resize = pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=256)
rule = pb.Preprocessing(
    resize=resize, color_mode=pb.COLOR_MODE_RGB, interpolation=pb.INTERPOLATION_BILINEAR
)
prepare = Preprocessor(rule, 224, 224, InferenceSettings().image_limits)
import io
from PIL import Image
for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format)
    prepare.decode(out.getvalue())
resource.setrlimit(resource.RLIMIT_CPU, ({MAX_CPU_SECONDS}, {MAX_CPU_SECONDS}))
Path("/proc/self/clear_refs").write_text("5")
before, began = memory("VmRSS"), process_time()
try:
    prepare.decode(data)
    reply = "decoded"
except ServingError as error:
    reply = f"{{error.code.name}}: {{error.message}}"
print(f"{{process_time() - began:.2f}}", round(memory("VmHWM") - before), reply, sep="\\t")
"""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.attack_images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PART OF A NAME")
    parser.add_argument("--checkout", type=Path, default=ROOT, metavar="PATH")
    return parser.parse_args()


if __name__ == "__main__":
    main()
