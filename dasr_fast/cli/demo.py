"""`dasr-fast demo`."""

import click

from dasr_fast.cli import common
from dasr_fast.cli.common import option


@click.command()
@option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines in.")
@option("--port", type=click.IntRange(1, 65535), default=7860, help="Port to listen on.")
@common.device_option
def demo(host: str, port: int, device: str) -> int:
    """Open a page in a browser that super-resolves pictures.

    It needs the extra `demo`. It listens on this machine alone unless --host says otherwise: whoever reaches it can
    have pictures computed. Ctrl-C ends it.

    \b
    dasr-fast demo
    dasr-fast demo --port 8000
    """
    try:
        from dasr_fast.integrations.page import make

        page = make(device)
    except ImportError as error:
        raise click.UsageError(str(error)) from None
    common.use_large_pages()
    common.forget_old_primitives()
    click.echo(f"dasr-fast demo at http://{host}:{port}; Ctrl-C ends it.")
    page.launch(server_name=host, server_port=port, quiet=True, share=False)
    return 0
