"""`sign`: sign a bundle, so that servers with --require-signature load it.

What it needs is imported inside it, so that `--help` answers at once.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from typer import Option

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.commands.options import Quiet

__all__ = ["register"]

PASSWORD_VARIABLE = "CONVSCOPE_SIGNING_PASSWORD"
Bundle = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE", help="The bundle, like models/MODEL/1 or s3://BUCKET/models/MODEL/1."
    ),
]
Key = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="The private key, on an elliptic curve, in PEM. If it is encrypted, its password is "
        f"in the environment variable {PASSWORD_VARIABLE}.",
        show_default="required, unless --sigstore is set",
    ),
]
Certificate = Annotated[
    Path | None,
    Option(
        metavar="FILE", help="The certificate of the key, in PEM.", show_default="no certificate"
    ),
]
Chain = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="The intermediate authorities of the certificate, in PEM.",
        show_default="none",
    ),
]
Sigstore = Annotated[
    bool,
    Option(
        "--sigstore",
        help="Sign without a key through the public Sigstore, by the identity of the CI job or of "
        "the browser's login. The model's name and the identity become public.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sign)


def sign(
    bundle: Bundle,
    key: Key = None,
    certificate: Certificate = None,
    chain: Chain = None,
    sigstore: Sigstore = False,
    quiet: Quiet = False,
) -> None:
    """Verify a bundle, and sign it: model.sig is added to its files.

    Examples:
      convscope-exporter sign models/digits/1 --key signing-key.pem
      convscope-exporter sign s3://BUCKET/models/digits/1 --sigstore
    """
    if (key is None) != sigstore:
        raise typer.BadParameter("use either --key FILE or --sigstore")
    if (certificate is not None and key is None) or (chain is not None and certificate is None):
        raise typer.BadParameter("--chain needs --certificate, which needs --key")
    with errors_as_sentences():
        from convscope.bundle.layout import SIGNATURE
        from convscope.bundle.opening import find_bundle
        from convscope.bundle.signing import Signer, check_signer, make_signature
        from convscope.exporter.bundles.reader import open_bundle
        from convscope.exporter.bundles.verify import verify

        console = make_console(quiet)
        password = os.environ.get(PASSWORD_VARIABLE)  # a flag would be visible to all users
        signer = Signer(key, password, certificate, chain)
        check_signer(signer)
        found = find_bundle(bundle)
        with found.on_disk() as directory:
            opened = open_bundle(directory)
            with console.status("Verifying"):
                checks = [check.name for check in verify(directory)]
            console.print(f"verified  {', '.join(checks)}")
            data = make_signature(opened, signer)
        found.repository.add_signature(found.model, found.version, data)
        place = found.repository.place(found.model, found.version)
        console.print(f"[green]signed[/]    {escape(place)}/{SIGNATURE}")
