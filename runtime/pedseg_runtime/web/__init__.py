"""An artifact as a static web page that segments images, videos and the camera in the browser.

    from pedseg_runtime.web import fetch_library, write_page

    write_page(Path("pedseg.onnx"), Path("site"), library=fetch_library())

`pedseg-web` is the same for the command line. The page's own files are in `page/`; onnxruntime-web
comes from its npm package of a pinned version (`library.py`).
"""

from .build import write_page
from .library import fetch_library

__all__ = ["fetch_library", "write_page"]
