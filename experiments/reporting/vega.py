"""The JavaScript of Vega, which charts in a report need.

To bundle it takes seconds. The bundle is kept in the user's cache folder, beside compiled programs, under the version
of vl-convert.
"""

import functools
from importlib.metadata import version

from markupsafe import Markup

from lcnn_flow.numerics.user_files import keep_with_hash, kept_with_hash, user_folder

__all__ = ["vega_bundle"]

_ENTRY = "window.vegaEmbed = vegaEmbed;"


@functools.cache
def vega_bundle() -> Markup:
    """A script that defines `vegaEmbed`, safe within an HTML element."""
    file = user_folder("scripts") / f"vega-{version('vl-convert-python')}.js"
    script = kept_with_hash(file)
    if script is None:
        import vl_convert  # here: where the script is kept it is not needed

        script = vl_convert.javascript_bundle(_ENTRY).replace("</script", "<\\/script").encode()
        keep_with_hash(file, script, "the script of the charts")
    return Markup(script.decode())
