"""Which packages there are; everything else about the project stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    # "twisted.plugins" is no package of ours (it has no __init__.py): it is how the plugin gets into the wheel.
    packages=[*sorted(find_packages(include=["realtime_svc", "realtime_svc.*"])), "twisted.plugins"],
    # Without this an editable install maps realtime_svc alone, and twistd does not find the plugin.
    package_dir={"": "."},
    package_data={"realtime_svc": ["py.typed", "wire/*.proto", "wire/*.pyi"]},
)
