"""Which packages there are, and the compiled part; everything else about the project stands in pyproject.toml."""

import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

NOT_BUILT = """\
realtime_svc: the compiled part could not be built: it needs a C compiler and Python's headers. The installation goes on
realtime_svc: without it, and the server does the same in Python, more slowly.
"""


class BuildOrSay(build_ext):
    """Building the compiled part may fail, but not in silence."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception:
            sys.stderr.write(NOT_BUILT)
            raise  # to setuptools, which goes on: the extension is optional


setup(
    # "twisted.plugins" is no package of ours (it has no __init__.py): it is how the plugin gets into the wheel.
    packages=[*sorted(find_packages(include=["realtime_svc", "realtime_svc.*"])), "twisted.plugins"],
    # Without this an editable install maps realtime_svc alone, and twistd does not find the plugin.
    package_dir={"": "."},
    package_data={"realtime_svc": ["py.typed", "transports/*.pyi", "wire/*.proto", "wire/*.pyi"]},
    exclude_package_data={"realtime_svc": ["transports/*.c"]},
    ext_modules=[
        Extension(
            "realtime_svc.transports._kernel",
            ["realtime_svc/transports/_kernel.c"],
            extra_compile_args=["-O2"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildOrSay},
)
