"""What XenAPI tells of storage: what a repository can do is what its own storage manager says."""

from __future__ import annotations

from adapters.xen.records import repository_of

SR = {"uuid": "u", "name_label": "local", "type": "ext"}


def test_image_formats_are_the_managers_of_the_type() -> None:
    """They decide how a disk that is too large for a VHD is exported; a pool that names none has none."""
    managers = {
        "a": {"type": "ext", "features": {"VDI_SNAPSHOT": "1"}, "supported_image_formats": ["vhd", "qcow2"]},
        "b": {"type": "nfs", "features": {}, "supported_image_formats": ["raw"]},
    }
    assert repository_of("ref", SR, managers).image_formats == {"vhd", "qcow2"}
    assert repository_of("ref", SR, {"a": {"type": "ext", "features": {}}}).image_formats == frozenset()
