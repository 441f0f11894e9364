"""A Gradio Space: visitors watch a model play, and explore its results. The same as `ldm demo`.

Change `MODEL` to show another model; a variable of the Space of this name does it, too.
"""

import logging
import os

from huggingface_hub import snapshot_download

from ldm_hf.demo.page import serve

MODEL = os.environ.get("MODEL", "ldm_hf/ldm-nano")
REFERENCES = os.environ.get("REFERENCES", "ldm_hf/ldm-reference-policies")


def folder_of(name: str) -> str:
    """The folder of a name: itself, or what is downloaded from the Hub."""
    return name if os.path.isdir(name) else snapshot_download(name)


if __name__ == "__main__":  # the visitors' processes import this file, too
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    serve(folder_of(MODEL), folder_of(REFERENCES), host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), port=port)
