"""Read by the process that those of the visitors are forked from: what each of them would read for itself otherwise."""

from PIL import Image

from ..environments.specs import catalogue

catalogue()  # 37 files of YAML, which `make` looks into
Image.init()
